// Sends to a trigger as S4 says: signs with the document's own function, under the key file.
//
// node s4_sender.mjs MODULE KEY_FILE ADDRESS BODIES_FILE
//
// MODULE exports the document's `createSignature`; BODIES_FILE is a JSON list of
// {signed: value, sent: text}. Prints a JSON list of [status, body].

import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const [module, keyFile, address, bodiesFile] = process.argv.slice(2);
const { createSignature } = await import(pathToFileURL(module));
const key = JSON.parse(readFileSync(keyFile, 'utf8'));
const answers = [];
for (const { signed, sent } of JSON.parse(readFileSync(bodiesFile, 'utf8'))) {
    const answer = await fetch(new URL(key.endpoint, address), {
        method: 'POST',
        headers: {
            'Content-Type': 'application/json',
            [key.header]: createSignature(signed, key.privateKey),
        },
        body: sent,
    });
    answers.push([answer.status, await answer.json()]);
}
console.log(JSON.stringify(answers));
