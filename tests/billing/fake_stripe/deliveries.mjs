// Two tenants buy, change and lose their subscriptions. `input.phase` is the part that runs.
const url = `${input.url}/done`;
if (input.phase === 'buy') {
  const { basic, pro } = await catalog();
  result.pro = pro.id;
  for (const tenant of ['acme', 'globex']) {
    const customer = await stripe.customers.create({ name: tenant, metadata: { tenant_id: tenant } }, { idempotencyKey: tenant });
    const session = await stripe.checkout.sessions.create({
      mode: 'subscription', customer: customer.id, line_items: [{ price: basic.id, quantity: 1 }], metadata: { tenant_id: tenant },
      subscription_data: { metadata: { tenant_id: tenant } }, success_url: url,
    });
    await submit(session.url, { action: tenant === 'acme' ? 'card' : 'later' });
    const portal = await stripe.billingPortal.sessions.create({ customer: customer.id });
    const { subscription } = await stripe.checkout.sessions.retrieve(session.id);
    result[tenant] = { customer: customer.id, portal: portal.url, subscription };
  }
}
if (input.phase === 'change') {
  const { acme } = input;
  await submit(acme.portal, { action: 'cancel' });
  await submit(acme.portal, { action: 'advance_day' });
  await submit(acme.portal, { action: 'price', price: input.pro });
  await submit(acme.portal, { action: 'advance_day' });
  await submit(acme.portal, { action: 'keep' });
  // Both renew; the card of globex fails.
  await submit(acme.portal, { action: 'advance_month' });
}
if (input.phase === 'recover') {
  await submit(input.globex.portal, { action: 'card_good' });
  await submit(input.acme.portal, { action: 'cancel' });
  await submit(input.acme.portal, { action: 'advance_month' });
  await submit(input.acme.portal, { action: 'advance_day' });
}
if (input.phase === 'verify') {
  for (const { body, signature, secret } of input.deliveries) {
    const event = input.thin
      ? stripe.parseEventNotification(body, signature, secret)
      : stripe.webhooks.constructEvent(body, signature, secret);
    assert.ok(event.id.startsWith('evt_'));
    assert.throws(() => stripe.webhooks.constructEvent(`${body} `, signature, secret), Stripe.errors.StripeSignatureVerificationError);
  }
  result.verified = input.deliveries.length;
}
result.states = {};
for (const subscription of (await stripe.subscriptions.list({ status: 'all' })).data) {
  result.states[subscription.metadata.tenant_id] = subscription.status;
}
result.undelivered = (await all(stripe.events.list({ delivery_success: false }))).length;
result.events = await all(stripe.events.list({ limit: 100 }));
