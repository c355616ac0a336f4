// Meters: usage, its sums, its errors, and an invoice for it.
const meter = await stripe.billing.meters.create({
  display_name: 'Calls', event_name: 'calls', default_aggregation: { formula: 'sum' },
});
complete(meter, 'Billing/Meters', 'Meter');
const [acme, globex] = [
  await stripe.customers.create({ name: 'acme', invoice_settings: { default_payment_method: 'pm_card_visa' } }),
  await stripe.customers.create({ name: 'globex' }),
];
const now = Math.floor(Date.now() / 1000);
const use = (customer, value, more) => stripe.billing.meterEvents.create({
  event_name: 'calls', payload: { stripe_customer_id: customer, value: String(value) }, timestamp: now, ...more,
});
const { id: product } = await stripe.products.create({ name: 'Calls' });
const price = await stripe.prices.create({
  product, currency: 'usd', unit_amount: 5, recurring: { interval: 'month', meter: meter.id, usage_type: 'metered' },
});
const sub = await stripe.subscriptions.create({ customer: acme.id, items: [{ price: price.id }] });
assert.deepEqual([sub.status, 'quantity' in sub.items.data[0]], ['active', false]);
complete(await use(acme.id, 3, { identifier: 'a' }), 'Billing/MeterEvents', 'MeterEvent');
await use(acme.id, 4);
await use(globex.id, 100);
const duplicate = await fails(use(acme.id, 3, { identifier: 'a' }), 'StripeInvalidRequestError', null, 400);
assert.match(duplicate.message, /already exists with identifier a/);
await fails(use(acme.id, 1, { identifier: 'x'.repeat(101) }), 'StripeInvalidRequestError', null, 400);
await fails(use(acme.id, 1, { timestamp: now - 36 * DAY }), 'StripeInvalidRequestError', 'timestamp_too_far_in_past', 400);
await fails(use(acme.id, 1, { timestamp: now + 400 }), 'StripeInvalidRequestError', 'timestamp_in_future', 400);
const hour = now - (now % 3600);
await use(acme.id, 20, { timestamp: now - 30 * DAY });
const summaries = (customer, more) => stripe.billing.meters.listEventSummaries(meter.id, {
  customer, start_time: hour, end_time: hour + 3600, ...more,
});
const [sum] = (await summaries(acme.id)).data;
complete(sum, 'Billing/MeterEventSummaries', 'MeterEventSummary');
assert.deepEqual([sum.aggregated_value, (await summaries(globex.id)).data[0].aggregated_value], [7, 100]);
const hours = await summaries(acme.id, { start_time: hour - 40 * DAY, value_grouping_window: 'hour' });
assert.deepEqual(hours.data.map((one) => one.aggregated_value), [7, 20]);
await fails(summaries(acme.id, { start_time: hour + 1 }), 'StripeInvalidRequestError', null, 400);

// What Stripe finds only later.
await use('cus_absent', 1, { identifier: 'lost' });
await stripe.billing.meterEvents.create({ event_name: 'unknown', payload: { stripe_customer_id: acme.id, value: '1' }, identifier: 'nowhere' });
const thin = (await stripe.v2.core.events.list({ types: ['v1.billing.meter.error_report_triggered', 'v1.billing.meter.no_meter_found'] })).data;
const [none, lost] = await Promise.all(thin.map((event) => stripe.v2.core.events.retrieve(event.id)));
assert.equal(lost.related_object.id, meter.id);
const reason = (event) => event.data.reason.error_types.map((one) => [one.code, one.sample_errors[0].request.identifier]);
assert.deepEqual(reason(lost), [['meter_event_customer_not_found', 'lost']]);
assert.deepEqual([none.related_object, reason(none)], [null, [['no_meter', 'nowhere']]]);

// The invoice of the period has the usage since the subscription began.
const portal = await stripe.billingPortal.sessions.create({ customer: acme.id });
await submit(portal.url, { action: 'advance_month' });
await submit(portal.url, { action: 'advance_day' });
const [invoice] = (await stripe.invoices.list({ customer: acme.id })).data;
assert.deepEqual([invoice.status, invoice.amount_paid], ['paid', 35]);
assert.equal((await stripe.billing.meters.deactivate(meter.id)).status, 'inactive');
assert.equal((await stripe.billing.meters.list({ status: 'active' })).data.length, 0);
result.events = await all(stripe.events.list({ limit: 100 }));
result.shapes = shapes;
