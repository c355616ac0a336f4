// The first call of each path fails: `customers` before its effect, `products` after it.
const create = () => stripe.customers.create({ name: 'acme' }, { idempotencyKey: 'acme' });
await fails(create(), 'StripeAPIError', null, 500);
assert.equal((await stripe.customers.list()).data.length, 0);
assert.equal((await create()).name, 'acme');
const product = () => stripe.products.create({ name: 'Team' }, { idempotencyKey: 'team' });
await fails(product(), 'StripeAPIError', null, 500);
const [made] = (await stripe.products.list()).data;
assert.equal((await product()).id, made.id);
assert.equal((await stripe.products.list()).data.length, 1);
// An endpoint that the API made gets what it asked for.
const endpoint = await stripe.webhookEndpoints.create({ url: input.endpoint, enabled_events: ['customer.created'] });
await stripe.customers.create({ name: 'globex' });
await stripe.products.create({ name: 'Ignored' });
result.secret = endpoint.secret;
