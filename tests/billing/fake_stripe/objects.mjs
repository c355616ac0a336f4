// Customers, prices, checkout, subscriptions and the portal.
const { product, basic, pro } = await catalog();
complete(product, 'Products', 'Product');
complete(basic, 'Prices', 'Price');
complete(basic.recurring, 'Prices', 'Price.Recurring');
assert.deepEqual((await stripe.prices.list({ lookup_keys: ['pro'] })).data.map((price) => price.id), [pro.id]);
await fails(stripe.prices.create({ product: product.id, currency: 'usd', unit_amount: 1, lookup_key: 'pro' }),
  'StripeInvalidRequestError', null, 400);
const moved = await stripe.prices.create({
  product: product.id, currency: 'usd', unit_amount: 1, lookup_key: 'pro', transfer_lookup_key: true,
});
assert.equal(moved.lookup_key, 'pro');
assert.equal((await stripe.prices.retrieve(pro.id)).lookup_key, null);

// One key, one customer.
const details = { email: 'ö@example.com', name: 'Acme & "Sons"', metadata: { tenant_id: 'acme' } };
const [first, again] = [
  await stripe.customers.create(details, { idempotencyKey: 'once' }),
  await stripe.customers.create(details, { idempotencyKey: 'once' }),
];
assert.equal(first.id, again.id);
assert.equal(again.lastResponse.headers['idempotent-replayed'], 'true');
assert.equal((await all(stripe.customers.list())).length, 1);
await fails(stripe.customers.create({ email: 'x@example.com' }, { idempotencyKey: 'once' }), 'StripeIdempotencyError', null, 400);
complete(first, 'Customers', 'Customer');
complete(first.invoice_settings, 'Customers', 'Customer.InvoiceSettings');
assert.equal(first.name, 'Acme & "Sons"');
const renamed = await stripe.customers.update(first.id, { metadata: { plan: 'x', tenant_id: '' } });
assert.deepEqual(renamed.metadata, { plan: 'x' });

// Errors.
await fails(stripe.customers.retrieve('cus_absent'), 'StripeInvalidRequestError', 'resource_missing', 404);
await fails(stripe.subscriptions.create({ customer: 'cus_absent', items: [{ price: basic.id }] }),
  'StripeInvalidRequestError', 'resource_missing', 400);
await fails(stripe.subscriptions.create({ customer: first.id, items: [{ price: basic.id }] }),
  'StripeInvalidRequestError', 'resource_missing', 400);
const unknown = await fails(stripe.customers.create({ nickname: 'x' }), 'StripeInvalidRequestError', 'parameter_unknown', 400);
assert.equal(unknown.param, 'nickname');
await fails(stripe.customers.list({ limit: 101 }), 'StripeInvalidRequestError', null, 400);
await fails(stripe.products.create({}), 'StripeInvalidRequestError', 'parameter_missing', 400);
await fails(client('sk_live_x').customers.list(), 'StripeAuthenticationError', null, 401);
await fails(stripe.coupons.list(), 'StripeInvalidRequestError', null, 404);
await fails(stripe.paymentMethods.attach('pm_card_chargeDeclined', { customer: first.id }), 'StripeCardError', 'card_declined', 402);

// Checkout, paid over its page.
const session = await stripe.checkout.sessions.create({
  mode: 'subscription', customer: first.id, client_reference_id: 'acme_signed', metadata: { tenant_id: 'acme' },
  line_items: [{ price: basic.id, quantity: 2 }], subscription_data: { metadata: { tenant_id: 'acme' } },
  success_url: `${input.url}/done?session={CHECKOUT_SESSION_ID}`, cancel_url: `${input.url}/back`,
});
complete(session, 'Checkout/Sessions', 'Session');
assert.deepEqual([session.status, session.payment_status, session.amount_total], ['open', 'unpaid', 2000]);
const page = await (await fetch(session.url)).text();
assert.match(page, /Team &lt;plan&gt; × 2/);
assert.match(page, /name="viewport"/);
assert.doesNotMatch(page, /<plan>|src=|@import/);
assert.deepEqual((await submit(session.url, { action: 'cancel' })).location, `${input.url}/back`);
const paid = await submit(session.url, { action: 'card' });
assert.deepEqual([paid.status, paid.location], [303, `${input.url}/done?session=${session.id}`]);
assert.equal((await submit(session.url, { action: 'card' })).status, 400);
const done = await stripe.checkout.sessions.retrieve(session.id, { expand: ['subscription.latest_invoice', 'line_items', 'customer'] });
assert.deepEqual([done.status, done.payment_status, done.url], ['complete', 'paid', null]);
assert.equal(done.customer.id, first.id);
complete(done.line_items.data[0], 'LineItems', 'LineItem');
complete(done.subscription, 'Subscriptions', 'Subscription');
for (const part of ['AutomaticTax', 'BillingMode', 'InvoiceSettings', 'PaymentSettings', 'CancellationDetails']) {
  const field = part.replace(/(?!^)[A-Z]/g, (letter) => `_${letter}`).toLowerCase();
  complete(done.subscription[field], 'Subscriptions', `Subscription.${part}`);
}
complete(done.subscription.items.data[0], 'SubscriptionItems', 'SubscriptionItem');
complete(done.subscription.items.data[0].plan, 'Plans', 'Plan');
const bill = done.subscription.latest_invoice;
complete(bill, 'Invoices', 'Invoice');
complete(bill.lines.data[0], 'InvoiceLineItems', 'InvoiceLineItem');
complete(bill.payments.data[0], 'InvoicePayments', 'InvoicePayment');
assert.deepEqual([bill.status, bill.amount_paid, bill.billing_reason], ['paid', 2000, 'subscription_create']);
assert.equal(done.subscription.status, 'active');
assert.deepEqual(done.subscription.metadata, { tenant_id: 'acme' });
const subscription = done.subscription.id;

// Seats, with a proration that is invoiced at once.
const item = done.subscription.items.data[0].id;
const five = await stripe.subscriptions.update(subscription, {
  items: [{ id: item, quantity: 5 }], proration_behavior: 'always_invoice', expand: ['latest_invoice'],
});
assert.equal(five.items.data[0].quantity, 5);
assert.deepEqual([five.latest_invoice.amount_due, five.latest_invoice.billing_reason], [3000, 'subscription_update']);
assert.deepEqual(five.latest_invoice.lines.data.map((line) => line.amount), [-2000, 5000]);
// A credit goes to the balance of the customer.
await stripe.subscriptionItems.update(item, { quantity: 1, proration_behavior: 'always_invoice' });
assert.equal((await stripe.customers.retrieve(first.id)).balance, -4000);
const ending = await stripe.subscriptions.update(subscription, { cancel_at_period_end: true });
assert.equal(ending.cancel_at, ending.items.data[0].current_period_end);
const kept = await stripe.subscriptions.update(subscription, { cancel_at_period_end: false });
assert.deepEqual([kept.cancel_at, kept.canceled_at, kept.cancel_at_period_end], [null, null, false]);
const held = await stripe.subscriptions.update(subscription, { pause_collection: { behavior: 'void' } });
assert.deepEqual(held.pause_collection, { behavior: 'void', resumes_at: null });
await stripe.subscriptions.update(subscription, { pause_collection: '' });
assert.equal((await stripe.subscriptions.pause(subscription, { type: 'subscription' })).status, 'paused');
assert.equal((await stripe.subscriptions.resume(subscription)).status, 'active');
await fails(stripe.subscriptions.resume(subscription), 'StripeInvalidRequestError', 'resource_invalid_state', 400);
assert.equal((await stripe.subscriptions.list({ price: basic.id })).data.length, 1);
assert.equal((await stripe.subscriptions.list({ price: moved.id })).data.length, 0);

// The portal.
const portal = await stripe.billingPortal.sessions.create({ customer: first.id, return_url: `${input.url}/account` });
complete(portal, 'BillingPortal/Sessions', 'Session');
assert.match(await (await fetch(portal.url)).text(), /exists only in the fake/);
assert.equal((await submit(portal.url, { action: 'price', price: pro.id })).status, 303);
assert.equal((await stripe.subscriptions.retrieve(subscription)).items.data[0].price.id, pro.id);
await submit(portal.url, { action: 'cancel' });
assert.equal((await stripe.subscriptions.retrieve(subscription)).cancel_at_period_end, true);
await submit(portal.url, { action: 'keep' });
assert.equal((await stripe.subscriptions.retrieve(subscription)).cancel_at_period_end, false);
assert.equal((await submit(portal.url, { action: 'steal' })).status, 400);

// Payments.
const [charge] = (await stripe.charges.list({ customer: first.id })).data;
complete(charge, 'Charges', 'Charge');
complete((await stripe.paymentIntents.list({ customer: first.id })).data[0], 'PaymentIntents', 'PaymentIntent');
complete(await stripe.refunds.create({ charge: charge.id, amount: 100 }), 'Refunds', 'Refund');
complete((await stripe.paymentMethods.list({ customer: first.id })).data[0], 'PaymentMethods', 'PaymentMethod');
result.charge = charge.id;

// Other modes of checkout.
const urls = { success_url: `${input.url}/done` };
const once = await stripe.checkout.sessions.create({
  mode: 'payment', line_items: [{ price: moved.id }], payment_intent_data: { metadata: { order: '7' } }, ...urls,
});
await submit(once.url, { action: 'card' });
const bought = await stripe.checkout.sessions.retrieve(once.id, { expand: ['payment_intent'] });
assert.deepEqual([bought.payment_status, bought.payment_intent.metadata], ['paid', { order: '7' }]);
const setup = await stripe.checkout.sessions.create({ mode: 'setup', customer: first.id, currency: 'usd', ...urls });
await submit(setup.url, { action: 'card' });
const ready = await stripe.checkout.sessions.retrieve(setup.id, { expand: ['setup_intent'] });
complete(ready.setup_intent, 'SetupIntents', 'SetupIntent');
assert.equal(ready.payment_status, 'no_payment_required');
const left = await stripe.checkout.sessions.create({ mode: 'payment', line_items: [{ price: moved.id }], ...urls });
assert.equal((await stripe.checkout.sessions.expire(left.id)).status, 'expired');
const debit = await stripe.checkout.sessions.create({ mode: 'subscription', customer: first.id, line_items: [{ price: basic.id }], ...urls });
await submit(debit.url, { action: 'debit' });
const failing = await stripe.checkout.sessions.create({ mode: 'subscription', customer: first.id, line_items: [{ price: basic.id }], ...urls });
await submit(failing.url, { action: 'debit_fails' });
assert.equal((await stripe.checkout.sessions.retrieve(debit.id)).payment_status, 'unpaid');
await submit(portal.url, { action: 'advance_week' });
assert.equal((await stripe.checkout.sessions.retrieve(debit.id)).payment_status, 'paid');
const unpaid = await stripe.checkout.sessions.retrieve(failing.id, { expand: ['subscription'] });
assert.deepEqual([unpaid.payment_status, unpaid.subscription.status], ['unpaid', 'past_due']);

// A trial that is cut short is announced at once, and not in the past.
const trial = await stripe.subscriptions.create({ customer: first.id, items: [{ price: basic.id }], trial_period_days: 30 });
await submit(portal.url, { action: 'advance_week' });
const marker = await stripe.customers.create({ name: 'marker' });
await stripe.subscriptions.update(trial.id, { trial_end: marker.created + DAY });
const [announced] = (await stripe.events.list({ type: 'customer.subscription.trial_will_end' })).data;
assert.equal(announced.data.object.id, trial.id);
assert.ok(announced.created >= marker.created, `${announced.created} is before ${marker.created}`);
assert.equal((await stripe.subscriptions.cancel(trial.id)).status, 'canceled');

// Webhook endpoints.
const endpoint = await stripe.webhookEndpoints.create({ url: 'http://127.0.0.1:9/', enabled_events: ['customer.created'] });
complete(endpoint, 'WebhookEndpoints', 'WebhookEndpoint');
assert.match(endpoint.secret, /^whsec_/);
const [listed] = (await stripe.webhookEndpoints.list()).data;
assert.deepEqual([listed.id, listed.secret], [endpoint.id, undefined]);
assert.equal((await stripe.webhookEndpoints.del(endpoint.id)).deleted, true);
await fails(stripe.webhookEndpoints.retrieve(endpoint.id), 'StripeInvalidRequestError', 'resource_missing', 404);

// A deleted customer.
assert.deepEqual((await stripe.customers.del(first.id)).deleted, true);
assert.equal((await stripe.customers.retrieve(first.id)).deleted, true);
assert.equal((await stripe.subscriptions.retrieve(subscription)).status, 'canceled');
assert.equal((await stripe.subscriptions.list({ customer: first.id, status: 'all' })).data.length, 4);
await fails(stripe.billingPortal.sessions.create({ customer: first.id }), 'StripeInvalidRequestError', 'resource_missing', 400);

// Events, over several pages.
const events = await all(stripe.events.list({ limit: 7 }));
complete(events[0], 'Events', 'EventBase');
assert.equal(new Set(events.map((event) => event.id)).size, events.length);
const kinds = ['customer.created', 'customer.deleted'];
assert.deepEqual((await all(stripe.events.list({ types: kinds, limit: 1 }))).map((event) => event.type).sort(), [...kinds, 'customer.created', 'customer.created'].sort());
assert.equal((await all(stripe.events.list({ created: { gt: events[0].created } }))).length, 0);
const [change] = await all(stripe.events.list({ type: 'customer.updated' })).then((found) => found.slice(-1));
assert.deepEqual(change.data.previous_attributes, { metadata: { plan: null, tenant_id: 'acme' } });
assert.match(change.request.id, /^req_/);
result.events = events;
result.shapes = shapes;
