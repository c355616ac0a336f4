// What every script of this directory begins with: Stripe's official SDK as the client of the fake at `input.url`.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const sdk = `${process.env.TEST_STRIPE_SDK}/node_modules/stripe`;
const Stripe = createRequire(`${process.env.TEST_STRIPE_SDK}/`)('stripe');
const input = JSON.parse(readFileSync(0, 'utf8'));
const { hostname, port } = new URL(input.url);
const client = (key) => new Stripe(key, { host: hostname, port, protocol: 'http', maxNetworkRetries: 0, telemetry: false });
const stripe = client('sk_test_x');
const DAY = 86400;

// Sends a form, as a browser does, and returns the status and the place it redirects to.
async function submit(url, fields) {
  const response = await fetch(url, { method: 'POST', body: new URLSearchParams(fields), redirect: 'manual' });
  return { status: response.status, location: response.headers.get('location'), text: await response.text() };
}

async function fails(promise, kind, code, status) {
  const error = await promise.then(() => assert.fail(`expected ${kind} ${code}`), (error) => error);
  assert.ok(error instanceof Stripe.errors[kind], `${error.constructor.name}: ${error.message}`);
  assert.equal(error.code ?? null, code, error.message);
  assert.equal(error.statusCode, status, error.message);
  return error;
}

// The fields that the SDK's type declares as always present.
function required(file, path) {
  let text = readFileSync(`${sdk}/esm/resources/${file}.d.ts`, 'utf8').replace(/\/\*[^]*?\*\//g, '');
  const block = (from) => {
    const start = text.indexOf('{', from);
    let depth = 0;
    for (let at = start; ; at++) {
      if (text[at] === '{') depth++;
      if (text[at] === '}' && --depth === 0) return text.slice(start + 1, at);
    }
  };
  const names = path.split('.');
  for (const name of names.slice(0, -1)) text = block(text.search(new RegExp(`namespace ${name} \\{`)));
  const found = text.search(new RegExp(`interface ${names.at(-1)}(?: extends \\w+)? \\{`));
  assert.ok(found >= 0, `${file} has no ${path}`);
  return [...block(found).matchAll(/^\s*(\w+): /gm)].map((match) => match[1]);
}

let shapes = 0;
function complete(object, file, path) {
  const fields = required(file, path);
  assert.ok(fields.length > 1, `${path} has fields`);
  const absent = fields.filter((field) => !(field in object));
  assert.deepEqual(absent, [], `${path} lacks fields`);
  shapes++;
}

async function all(list) {
  const found = [];
  for await (const one of list) found.push(one);
  return found;
}

async function catalog() {
  const product = await stripe.products.create({ name: 'Team <plan>' });
  const price = (key, amount, interval = 'month') => stripe.prices.create({
    product: product.id, currency: 'usd', unit_amount: amount, recurring: { interval }, lookup_key: key,
  });
  return { product, basic: await price('basic', 1000), pro: await price('pro', 3000), yearly: await price('pro_yearly', 30000, 'year') };
}

const result = {};
