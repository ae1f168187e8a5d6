// A receiver that verifies with npm's `standardwebhooks`:
//   node standard_webhooks.js SECRET…
// A POST to /N is verified with the Nth secret (from 0) and answered 200 or 401.
'use strict';
const express = require('express');
const { Webhook, WebhookVerificationError } = require('standardwebhooks');

const webhooks = process.argv.slice(2).map((secret) => new Webhook(secret));
const app = express();
app.post('/:index', express.raw({ type: () => true }), (req, res) => {
  try {
    webhooks[Number(req.params.index)].verify(req.body.toString('utf8'), req.headers);
  } catch (error) {
    if (!(error instanceof WebhookVerificationError)) throw error;
    return res.status(401).send(error.message);
  }
  res.sendStatus(200);
});
app.listen(0);
