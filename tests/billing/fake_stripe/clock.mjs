// A test clock through trial, renewal, failure, repetition, recovery and the end.
const { basic, pro } = await catalog();
const start = Date.UTC(2026, 0, 31, 12) / 1000;
const clock = await stripe.testHelpers.testClocks.create({ frozen_time: start, name: 'a year' });
complete(clock, 'TestHelpers/TestClocks', 'TestClock');
const advance = async (time) => {
  const reply = await stripe.testHelpers.testClocks.advance(clock.id, { frozen_time: time });
  assert.equal(reply.status, 'advancing');
  assert.deepEqual(await stripe.testHelpers.testClocks.retrieve(clock.id).then(({ status, frozen_time }) => [status, frozen_time]), ['ready', time]);
};
const date = (time) => new Date(time * 1000).toISOString().slice(0, 10);
const customer = await stripe.customers.create({
  test_clock: clock.id, payment_method: 'pm_card_visa', invoice_settings: { default_payment_method: 'pm_card_visa' },
});
assert.equal(customer.created, start);
const { id } = await stripe.subscriptions.create({ customer: customer.id, items: [{ price: basic.id, quantity: 3 }], metadata: { tenant_id: 'acme' } });
const now = () => stripe.subscriptions.retrieve(id, { expand: ['latest_invoice'] });
let sub = await now();
assert.deepEqual([sub.status, date(sub.items.data[0].current_period_end)], ['active', '2026-02-28']);

// A renewal is a draft for an hour, and ends on the last day of each month.
await advance(sub.items.data[0].current_period_end + 60);
sub = await now();
assert.deepEqual([sub.status, sub.latest_invoice.status, date(sub.items.data[0].current_period_end)], ['active', 'draft', '2026-03-31']);
await advance(sub.latest_invoice.created + 3600);
assert.deepEqual((await now()).latest_invoice.status, 'paid');

// Credits of a downgrade wait for the next invoice.
await stripe.subscriptions.update(id, { items: [{ id: sub.items.data[0].id, quantity: 2 }] });
await advance(sub.items.data[0].current_period_end + 3600);
sub = await now();
assert.deepEqual(sub.latest_invoice.lines.data.map((line) => Math.sign(line.amount)), [1, -1, 1]);
assert.equal(sub.latest_invoice.total, 2000 + sub.latest_invoice.lines.data[1].amount + sub.latest_invoice.lines.data[2].amount);

// The card fails: three repetitions, and a new card before the last one.
const use = async (card) => {
  const method = await stripe.paymentMethods.attach(card, { customer: customer.id });
  await stripe.customers.update(customer.id, { invoice_settings: { default_payment_method: method.id } });
};
await use('pm_card_chargeCustomerFail');
let due = sub.items.data[0].current_period_end + 3600;
await advance(due);
sub = await now();
assert.deepEqual([sub.status, sub.latest_invoice.attempt_count, sub.latest_invoice.next_payment_attempt], ['past_due', 1, due + 3 * DAY]);
await fails(stripe.invoices.pay(sub.latest_invoice.id), 'StripeCardError', 'card_declined', 402);
await use('pm_card_visa');
assert.equal((await stripe.invoices.pay(sub.latest_invoice.id)).status, 'paid');
assert.equal((await now()).status, 'active');
await fails(stripe.invoices.pay(sub.latest_invoice.id), 'StripeInvalidRequestError', 'invoice_already_paid', 400);

// The next repetition finds the new card.
await use('pm_card_chargeCustomerFail');
due = (await now()).items.data[0].current_period_end + 3600;
await advance(due + DAY);
assert.equal((await now()).status, 'past_due');
await use('pm_card_visa');
await advance(due + 3 * DAY);
assert.deepEqual(await now().then((one) => [one.status, one.latest_invoice.attempt_count]), ['active', 2]);

// A card that needs the customer.
await use('pm_card_authenticationRequired');
due = (await now()).items.data[0].current_period_end + 3600;
await advance(due);
assert.equal((await stripe.events.list({ type: 'invoice.payment_action_required' })).data.length, 1);

// All repetitions fail.
await use('pm_card_chargeCustomerFail');
await advance(due + 8 * DAY - 60);
assert.equal((await now()).status, 'past_due');
await advance(due + 15 * DAY);
sub = await now();
assert.deepEqual([sub.status, sub.latest_invoice.attempt_count], [input.final, 4]);
if (input.final === 'canceled') assert.equal(sub.cancellation_details.reason, 'payment_failed');

// Trials: one that is paused without a card, and one that is bought.
const bare = await stripe.customers.create({ test_clock: clock.id });
const trial = await stripe.subscriptions.create({
  customer: bare.id, items: [{ price: pro.id }], trial_period_days: 7, trial_settings: { end_behavior: { missing_payment_method: 'pause' } },
});
assert.equal(trial.status, 'trialing');
let time = due + 15 * DAY;
await advance(time + 5 * DAY);
assert.equal((await stripe.events.list({ type: 'customer.subscription.trial_will_end' })).data[0].data.object.id, trial.id);
await advance(time + 8 * DAY);
const paused = await stripe.subscriptions.retrieve(trial.id);
assert.deepEqual([paused.status, paused.status_details.paused.subscription.type], ['paused', 'trial_end_without_payment_method']);
await stripe.customers.update(bare.id, { invoice_settings: { default_payment_method: 'pm_card_visa' } });
assert.equal((await stripe.subscriptions.resume(trial.id)).status, 'active');
const ending = await stripe.subscriptions.update(trial.id, { cancel_at_period_end: true });
await advance(ending.cancel_at + 1);
const ended = await stripe.subscriptions.retrieve(trial.id);
assert.deepEqual([ended.status, ended.ended_at, ended.cancellation_details.reason], ['canceled', ending.cancel_at, 'cancellation_requested']);
const short = await stripe.subscriptions.create({ customer: bare.id, items: [{ price: pro.id }], trial_period_days: 30 });
assert.equal((await stripe.subscriptions.update(short.id, { trial_end: 'now' })).status, 'active');
assert.equal((await stripe.invoices.list({ subscription: short.id })).data[0].amount_paid, 3000);

// An unpaid first invoice.
const waiting = await stripe.subscriptions.create({ customer: bare.id, items: [{ price: pro.id }], payment_behavior: 'default_incomplete' });
assert.equal(waiting.status, 'incomplete');
time = (await stripe.testHelpers.testClocks.retrieve(clock.id)).frozen_time;
await advance(time + DAY);
assert.equal((await stripe.subscriptions.retrieve(waiting.id)).status, 'incomplete_expired');

// An open session expires, and its customers go with the clock.
const session = await stripe.checkout.sessions.create({
  mode: 'subscription', customer: bare.id, line_items: [{ price: pro.id }], success_url: input.url,
});
await advance(time + 3 * DAY);
assert.equal((await stripe.checkout.sessions.retrieve(session.id)).status, 'expired');
result.events = await all(stripe.events.list({ limit: 100 }));
for (let at = 1; at < result.events.length; at++) assert.ok(result.events[at - 1].id > result.events[at].id);
await stripe.testHelpers.testClocks.del(clock.id);
assert.equal((await stripe.customers.retrieve(bare.id)).deleted, true);
