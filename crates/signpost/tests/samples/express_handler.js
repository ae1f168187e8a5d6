// An Express app around a sample that registers its handlers on `app`:
//   node express_handler.js FILE
// runs FILE with `app`, which has express.json() as the document supposes.
'use strict';
const { readFileSync } = require('node:fs');
const express = require('express');

const app = express();
app.use(express.json());
new Function('require', 'app', readFileSync(process.argv[2], 'utf8'))(require, app);
app.listen(0);
