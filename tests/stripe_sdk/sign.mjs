// Signs and verifies with Stripe's own SDK. Reads {secret, sign: [{body, time}], verify: [{body, header}]} from
// standard input and writes {signed: [header], accepted: [boolean]} to standard output.
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const require = createRequire(join(process.env.TEST_STRIPE_SDK, 'node_modules', 'anchor.js'));
const loaded = require('stripe');
const Stripe = loaded.default ?? loaded;
const { webhooks } = new Stripe('sk_test_unused');

const { secret, sign, verify } = JSON.parse(readFileSync(0, 'utf8'));
const signed = sign.map(({ body, time }) =>
  webhooks.generateTestHeaderString({ payload: body, secret, timestamp: time }),
);
const accepted = verify.map(({ body, header }) => {
  try {
    webhooks.constructEvent(Buffer.from(body, 'utf8'), header, secret);
    return true;
  } catch (error) {
    if (error.type !== 'StripeSignatureVerificationError') throw error;
    return false;
  }
});
process.stdout.write(JSON.stringify({ signed, accepted }));
