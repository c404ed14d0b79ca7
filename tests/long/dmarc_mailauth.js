/*
 * mailauth's DMARC, in bulk, for dmarc_differential.py: the protocol of dmarc_batch.c.
 *
 * node dmarc_mailauth.js NODE_MODULES
 */
'use strict';
const path = require('node:path');
const readline = require('node:readline');
const { dmarc } = require(path.join(path.resolve(process.argv[2]), 'mailauth/lib/dmarc'));

function resolver(dns) {
    return async (name, type) => {
        const found = dns[name.toLowerCase()]?.[type];
        if (!found)
            throw Object.assign(new Error(`no ${type} at ${name}`), { code: 'ENOTFOUND' });
        return found;
    };
}

const passing = list => list.filter(([, result]) => result === 'pass').map(([domain]) => ({ domain }));

async function answer(test) {
    const found = await dmarc({
        headerFrom: `a@${test.from}`,
        spfDomains: passing([test.spf]),
        dkimDomains: passing(test.dkim),
        resolver: resolver(test.dns),
    });
    return { id: test.id, result: found.status.result, policy: found.policy || 'none',
        spf: Boolean(found.alignment?.spf.result), dkim: Boolean(found.alignment?.dkim.result) };
}

(async () => {
    for await (const line of readline.createInterface({ input: process.stdin }))
        console.log(JSON.stringify(await answer(JSON.parse(line))));
})();
