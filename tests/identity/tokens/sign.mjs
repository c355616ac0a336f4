// Keys and tokens by node's own cryptography. In: {claims: [..], secret}. Out: one row for each algorithm, with its key
// as PEM and JWK and a token for each of the claims.
import { constants, createHmac, generateKeyPairSync, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';

const { claims, secret } = JSON.parse(readFileSync(0, 'utf8'));
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const curve = (namedCurve) => generateKeyPairSync('ec', { namedCurve });
const { RSA_PKCS1_PSS_PADDING: padding, RSA_PSS_SALTLEN_DIGEST: saltLength } = constants;
const fixed = { dsaEncoding: 'ieee-p1363' };

const pairs = [
  ...['256', '384', '512'].flatMap((bits) => [
    { alg: `RS${bits}`, hash: `sha${bits}`, pair: rsa, options: {} },
    { alg: `PS${bits}`, hash: `sha${bits}`, pair: rsa, options: { padding, saltLength } },
  ]),
  { alg: 'ES256', hash: 'sha256', pair: curve('P-256'), options: fixed },
  { alg: 'ES384', hash: 'sha384', pair: curve('P-384'), options: fixed },
  { alg: 'EdDSA', hash: null, pair: generateKeyPairSync('ed25519'), options: {} },
];

const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
const token = (alg, claims, signature) => {
  const message = `${part({ alg, typ: 'JWT', kid: alg })}.${part(claims)}`;
  return `${message}.${signature(message).toString('base64url')}`;
};

const rows = pairs.map(({ alg, hash, pair, options }) => ({
  alg,
  pem: pair.publicKey.export({ type: 'spki', format: 'pem' }),
  jwk: { ...pair.publicKey.export({ format: 'jwk' }), kid: alg, alg, use: 'sig' },
  tokens: claims.map((one) =>
    token(alg, one, (message) => sign(hash, Buffer.from(message), { key: pair.privateKey, ...options })),
  ),
}));
for (const bits of ['256', '384', '512']) {
  const alg = `HS${bits}`;
  const mac = (message) => createHmac(`sha${bits}`, secret).update(message).digest();
  rows.push({ alg, tokens: claims.map((one) => token(alg, one, mac)) });
}
process.stdout.write(JSON.stringify(rows));
