// An Express app around a sample that is a function only:
//   node express_function.js FILE NAME HEADER SECRET
// calls FILE's function NAME(req.body, signature, SECRET) for each POST, with express.json() before
// it as the document has it, and answers 200 or 401.
'use strict';
const { readFileSync } = require('node:fs');
const express = require('express');

const [file, name, header, secret] = process.argv.slice(2);
const verify = new Function('require', `${readFileSync(file, 'utf8')}\nreturn ${name};`)(require);

const app = express();
app.use(express.json());
app.post('/webhook', (req, res) => {
  res.sendStatus(verify(req.body, req.get(header), secret) ? 200 : 401);
});
app.listen(0);
