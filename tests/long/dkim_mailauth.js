/*
 * mailauth, in bulk, for dkim_mailauth.py: the protocol of dkim_batch.c, with field names behind the
 * canonicalization, and a zone's number behind "arc" ("verify" looks in the first).
 *
 * node dkim_mailauth.js NODE_MODULES DOMAIN ZONE[,ZONE…] SELECTOR=KEYFILE …     (zones in the dns.json form)
 */
'use strict';
const fs = require('node:fs');
const path = require('node:path');
const [modules, domain, zonePaths, ...keyPaths] = process.argv.slice(2);
const mailauth = name => require(path.join(path.resolve(modules), 'mailauth/lib', name));
const { dkimVerify } = mailauth('dkim/verify');
const { dkimSign } = mailauth('dkim/sign');
const { arc } = mailauth('arc');

const keys = new Map(keyPaths.map(word => {
    const at = word.indexOf('=');
    return [word.slice(0, at), fs.readFileSync(word.slice(at + 1), 'utf8')];
}));
const resolvers = zonePaths.split(',').map(file => {
    const zone = JSON.parse(fs.readFileSync(file, 'utf8'));
    return async (name, type) => {
        const found = zone[name.toLowerCase()]?.[type];
        if (!found)
            throw Object.assign(new Error(`no ${type} at ${name}`), { code: 'ENOTFOUND' });
        return found;
    };
});

async function verify(message) {
    const { results } = await dkimVerify(message, { resolver: resolvers[0] });
    const status = results[0]?.status;
    return status ? `${status.result} ${status.comment || ''}` : 'none';
}

async function verifyChain(zone, message) {
    const resolver = resolvers[zone];
    const found = await dkimVerify(message, { resolver });
    const { status } = await arc(found.arc, { resolver });
    return `${status.result} ${status.comment || ''}`;
}

async function sign(selector, canonicalization, names, message) {
    const { signatures, errors } = await dkimSign(message, {
        canonicalization,
        headerList: names,
        signatureData: [{ signingDomain: domain, selector, privateKey: keys.get(selector) }],
    });
    return errors.length ? `!${errors[0].err.message}` : signatures;
}

async function answer(words, message) {
    switch (words[0]) {
    case 'verify':
        return verify(message);
    case 'arc':
        return verifyChain(Number(words[1]), message);
    default:
        return sign(words[1], words[2], words[3], message);
    }
}

/* Frames of a line that ends in a length, and so many octets. */
async function serve() {
    let waiting = Buffer.alloc(0);
    for await (const chunk of process.stdin) {
        waiting = Buffer.concat([waiting, chunk]);
        for (let end; (end = waiting.indexOf('\n')) >= 0;) {
            const words = waiting.toString('latin1', 0, end).split(' ');
            const length = Number(words.pop());
            if (waiting.length < end + 1 + length)
                break;
            const message = waiting.subarray(end + 1, end + 1 + length);
            waiting = waiting.subarray(end + 1 + length);
            const said = Buffer.from(await answer(words, message).catch(fault => `!${fault.message}`));
            process.stdout.write(Buffer.concat([Buffer.from(`${said.length}\n`), said]));
        }
    }
}

serve();
