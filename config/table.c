#include "config/table.h"

#include "config/config.h"

#include <string.h>

#define MEMBER_BYTES(type, member) sizeof(((type *)0)->member)
#define PLACE(type, member)                                                                                  \
    {                                                                                                        \
        offsetof(type, member), MEMBER_BYTES(type, member)                                                   \
    }
#define IN(member)         PLACE(struct config, member)
#define IN_LISTEN(member)  PLACE(struct listen_settings, member)
#define IN_BACKEND(member) PLACE(struct backend_settings, member)
#define IN_PAIR(member)    PLACE(struct tls_pair, member)
#define IN_LIST(member)    PLACE(struct dnsbl_list, member)
#define IN_KEY(member)     PLACE(struct dkim_keyring_key, member)
#define NOWHERE                                                                                              \
    {                                                                                                        \
        0, 0                                                                                                 \
    }
#define COUNT_AT(member) .second = offsetof(struct config, member)
#define EACH(type)       .record_bytes = sizeof(type)

static const struct word global_modes[] = {{"enforce", MODE_ENFORCE, 0}, {"observe", MODE_OBSERVE, 0}, {0}};
static const struct word modes[] = {
    {"off", MODE_OFF, 0}, {"observe", MODE_OBSERVE, 0}, {"enforce", MODE_ENFORCE, 0}, {0}};
static const struct word sign_modes[] = {{"off", MODE_OFF, 0}, {"enforce", MODE_ENFORCE, 0}, {0}};
static const struct word events[] = {
    {"mark", ON_MARK, 0}, {"defer", ON_DEFER, 0}, {"reject", ON_REJECT, 0}, {0}};
static const struct word mark_or_reject[] = {{"mark", ON_MARK, 0}, {"reject", ON_REJECT, 0}, {0}};
static const struct word bare_ends[] = {{"refuse", BARE_ENDS_REFUSE, 0}, {"drop", BARE_ENDS_DROP, 0}, {0}};
static const struct word roles[] = {{"mx", ROLE_MX, 0}, {"outbound", ROLE_OUTBOUND, 0}, {0}};
static const struct word listen_tls[] = {{"none", LISTEN_TLS_NONE, 0},
                                         {"starttls", LISTEN_TLS_STARTTLS, 0},
                                         {"require", LISTEN_TLS_REQUIRE, 0},
                                         {"implicit", LISTEN_TLS_IMPLICIT, 0},
                                         {0}};
static const struct word protocols[] = {{"smtp", PROTOCOL_SMTP, 0}, {"lmtp", PROTOCOL_LMTP, 0}, {0}};
static const struct word backend_tls[] = {{"never", BACKEND_TLS_NEVER, 0},
                                          {"opportunistic", BACKEND_TLS_OPPORTUNISTIC, 0},
                                          {"require", BACKEND_TLS_REQUIRE, 0},
                                          {"verify", BACKEND_TLS_VERIFY, 0},
                                          {0}};
static const struct word passes[] = {{"xclient", PASS_XCLIENT, 0},
                                     {"proxy-v2", PASS_PROXY_V2, 0},
                                     {"xforward", PASS_XFORWARD, 0},
                                     {"none", PASS_NONE, 0},
                                     {0}};
static const struct word recipients[] = {
    {"backend", RECIPIENTS_BACKEND, 0}, {"any", RECIPIENTS_ANY, 0}, {"file:", RECIPIENTS_FILE, 0}, {0}};
static const struct word list_kinds[] = {
    {"addresses", DNSBL_OF_ADDRESSES, 0}, {"domains", DNSBL_OF_DOMAINS, 0}, {0}};
static const struct word forgers[] = {
    {"auto", DNS_FORGERS_AUTO, 0}, {"expected", DNS_FORGERS_EXPECTED, 0}, {"none", DNS_FORGERS_NONE, 0}, {0}};
static const struct word versions[] = {{"TLSv1.2", TLS_1_2, 0}, {"TLSv1.3", TLS_1_3, 0}, {0}};
static const struct word whens[] = {{"suspicious", GREY_SUSPICIOUS, 0}, {"always", GREY_ALWAYS, 0}, {0}};
static const struct word rejects[] = {{"evidence", DMARC_REJECT_EVIDENCE, 0},
                                      {"always", DMARC_REJECT_ALWAYS, 0},
                                      {"never", DMARC_REJECT_NEVER, 0},
                                      {0}};
static const struct word quarantines[] = {
    {"mark", DMARC_QUARANTINE_MARK, 0}, {"reject", DMARC_QUARANTINE_REJECT, 0}, {0}};
static const struct word report_formats[] = {{"rfc7489", 0, 0}, {"rfc9990", 1, 0}, {0}};
static const struct word canonicalizations[] = {{"relaxed/relaxed", 0, 0},
                                                {"relaxed/simple", 1, 0},
                                                {"simple/relaxed", 2, 0},
                                                {"simple/simple", 3, 0},
                                                {0}};
static const struct word sha1_results[] = {
    {"policy", DKIM_SHA1_POLICY, 0}, {"neutral", DKIM_SHA1_NEUTRAL, 0}, {0}};
static const struct word key_states[] = {{"active", DKIM_KEY_ACTIVE, 0},
                                         {"published", DKIM_KEY_PUBLISHED, 0},
                                         {"retiring", DKIM_KEY_RETIRING, 0},
                                         {"revoked", DKIM_KEY_REVOKED, 0},
                                         {0}};
static const struct word unseens[] = {{"refuse", DKIM_UNSEEN_REFUSE, 0}, {"warn", DKIM_UNSEEN_WARN, 0}, {0}};
static const struct word targets[] = {{"stderr", LOG_STDERR, 0}, {"syslog", LOG_SYSLOG, 0}, {0}};
static const struct word formats[] = {{"logfmt", LOG_LOGFMT, 0}, {"json", LOG_JSON, 0}, {0}};
static const struct word levels[] = {{"error", LOG_ERROR, 0},
                                     {"warning", LOG_WARNING, 0},
                                     {"info", LOG_INFO, 0},
                                     {"debug", LOG_DEBUG, 0},
                                     {0}};
static const struct word privacies[] = {
    {"none", LOG_PRIVACY_NONE, 0}, {"hash", LOG_PRIVACY_HASH, 0}, {"domains", LOG_PRIVACY_DOMAINS, 0}, {0}};

/* clang-format off */
const struct setting settings[] = {
    {"version", SET_NUMBER, NOWHERE, "1", "1", "1",
     .sentence = "The form of this file."},
    {"hostname", SET_HOSTNAME, IN(hostname), NULL,
     .sentence = "Our own full name: banner, EHLO to the backend, Received: by."},
    {"authserv_id", SET_AUTHSERV_ID, IN(authserv_id), "",
     .sentence = "Name in Authentication-Results; empty: the hostname. The same on all MXs of a site."},
    {"mode", SET_WORD, IN(mode), "enforce", .words = global_modes,
     .sentence = "observe: decide, log and count, but never refuse. Each check below has its own mode "
                 "too."},

    {"listen", SET_RECORDS, IN(listens), "{}", COUNT_AT(listens_count), EACH(struct listen_settings),
     .sentence = "Where clients come in."},
    {"listen[].name", SET_NAME, IN_LISTEN(name), "mx", .most = "32",
     .sentence = "A word for logs and metrics, different for each."},
    {"listen[].address", SET_LISTEN, IN_LISTEN(address), "[::]:25",
     .sentence = "IP:PORT; [::] is IPv4 and IPv6."},
    {"listen[].role", SET_WORD, IN_LISTEN(role), "mx", .words = roles,
     .sentence = "mx: mail from the world. outbound: clients of `networks`, and those who log in (AUTH), relayed to anywhere, no inbound checks."},
    {"listen[].tls", SET_WORD, IN_LISTEN(tls), "starttls", .words = listen_tls,
     .sentence = "none, starttls (offered), require (nothing before STARTTLS), implicit (from the first "
                 "octet)."},
    {"listen[].proxy_protocol", SET_NETWORKS, IN_LISTEN(proxy_protocol), "",
     .sentence = "Networks (balancers) that must begin with a PROXY header, version 1 or 2; nobody else may."},
    {"listen[].xclient", SET_NETWORKS, IN_LISTEN(xclient), "",
     .sentence = "Networks that may use XCLIENT: a proxy in front that names its client."},

    {"backends", SET_RECORDS, IN(backends), "{}", COUNT_AT(backends_count), EACH(struct backend_settings),
     .sentence = "The MTA behind us; the first healthy one in order."},
    {"backends[].address", SET_BACKEND, IN_BACKEND(endpoint), "127.0.0.1:10025",
     .second = offsetof(struct backend_settings, address),
     .sentence = "IP:PORT, NAME:PORT (looked up for each connection; all its addresses are tried), or unix:PATH (a socket "
                 "that runtime.user may write to)."},
    {"backends[].protocol", SET_WORD, IN_BACKEND(protocol), "smtp", .words = protocols,
     .sentence = "smtp, or lmtp (RFC 2033: Dovecot, Cyrus)."},
    {"backends[].domains", SET_DOMAINS, NOWHERE, "",
     .sentence = "Only these recipient domains go here; empty: all that no other backend names. .example.net is any "
                 "subdomain."},
    {"backends[].tls", SET_WORD, IN_BACKEND(tls), "opportunistic", .words = backend_tls,
     .sentence = "never, opportunistic (when offered, and the backend is another machine), require (no mail without "
                 "it), verify (require, and a certificate that the next three keys find good)."},
    {"backends[].tls_name", SET_TEXT, IN_BACKEND(tls_name), "", .most = "253",
     .sentence = "verify: the name or IP address that the certificate must have; empty: that of `address`."},
    {"backends[].tls_ca", SET_PATH, IN_BACKEND(tls_ca), "",
     .sentence = "verify: PEM file of the authorities that may have signed it; empty: the system's."},
    {"backends[].tls_pin", SET_PINS, IN_BACKEND(tls_pins), "",
     .second = offsetof(struct backend_settings, tls_pins_count),
     .sentence = "verify: instead of name and authority, the SHA-256 (64 hex digits) of the public keys that it may "
                 "have."},
    {"backends[].pass_client", SET_WORD, IN_BACKEND(pass_client), "xclient", .words = passes,
     .sentence = "How the backend hears who the client is: xclient or xforward (for its log only; each when offered), "
                 "proxy-v2 (a header in front of each connection, which then serves one client), none."},
    {"backends[].connect_timeout", SET_DURATION, IN_BACKEND(connect_timeout_ms), "5s", "100ms", "60s",
     .sentence = "Until the connection stands."},
    {"backends[].reply_timeout", SET_DURATION, IN_BACKEND(reply_timeout_ms), "300s", "1s", "590s",
     .sentence = "For a reply, the one after the message's final dot too; clients give up after 10 "
                 "minutes (RFC 5321 4.5.3.2.6)."},
    {"backends[].pool", SET_NUMBER, IN_BACKEND(pool), "16", "0", "1000",
     .sentence = "Connections kept open, for each worker."},

    {"domains.relay", SET_DOMAINS, NOWHERE, "",
     .sentence = "The domains we accept mail for; .example.net is any subdomain, but not example.net "
                 "itself."},
    {"domains.file", SET_PATH, IN(domains.file), "",
     .sentence = "More of them, one a line, # begins a comment; empty: no file."},
    {"domains.recipients", SET_WORD, IN(domains.recipients), "backend", .words = recipients,
     .sentence = "Each RCPT is put to the backend live. backend: its answers are remembered, for when it cannot be "
                 "reached; any: they are not; file:PATH: and who is not in this file (user@domain or @domain, one a "
                 "line, # begins a comment; watched) is 550 without asking it."},
    {"domains.remember_accepted", SET_DURATION, IN(domains.remember_accepted_ms), "31d", "0s", "365d",
     .sentence = "How long it is remembered that the backend took a recipient; 0s: not at all."},
    {"domains.remember_refused", SET_DURATION, IN(domains.remember_refused_ms), "3d", "0s", "365d",
     .sentence = "How long it is remembered that the backend did not know a recipient: meanwhile, when it cannot be "
                 "reached, he is 550 and all others 451. 0s: not at all."},
    {"networks", SET_NETWORKS, IN(networks), "127.0.0.0/8,::1/128",
     .sentence = "Trusted clients: may relay to anywhere, skip the inbound checks."},

    {"limits.connections", SET_NUMBER, IN(limits.connections), "10000", "1", "1000000",
     .sentence = "At the same time, in all."},
    {"limits.connections_per_client", SET_NUMBER, IN(limits.connections_per_client), "50", "1", "100000",
     .sentence = "At the same time, of one IPv4 address or IPv6 /64."},
    {"limits.new_connections_per_client", SET_RATE, IN(limits.new_connections), "60/1m", "1/1s",
     "100000/1h", .second = offsetof(struct config, limits.new_connections_ms),
     .sentence = "Likewise, begun within a time."},
    {"limits.message_size", SET_SIZE, IN(limits.message_bytes), "50M", "64K", "2G",
     .sentence = "Of a message; what the backend announces as its SIZE holds when that is less."},
    {"limits.recipients", SET_NUMBER, IN(limits.recipients), "100", "1", "10000",
     .sentence = "Of a message; RFC 5321 4.5.3.1.8 wants 100 at least."},
    {"limits.errors", SET_NUMBER, IN(limits.errors), "20", "1", "1000",
     .sentence = "Refused commands until the session is ended with 421."},
    {"limits.header_size", SET_SIZE, IN(limits.header_bytes), "256K", "4K", "16M",
     .sentence = "Of the header section."},
    {"limits.header_fields", SET_NUMBER, IN(limits.header_fields), "1000", "10", "100000",
     .sentence = "Fields in the header section."},
    {"limits.received", SET_NUMBER, IN(limits.received), "50", "1", "1000",
     .sentence = "Received fields, beyond which a message is in a loop."},
    {"limits.line", SET_SIZE, IN(limits.line_bytes), "64K", "1K", "16M",
     .sentence = "Lines of the message are passed unchanged up to this, refused beyond."},
    {"limits.spool_memory", SET_SIZE, IN(limits.spool_memory_bytes), "1M", "4K", "1G",
     .sentence = "Of one message; beyond it an unlinked file in spool_dir."},
    {"limits.spool_dir", SET_PATH, IN(limits.spool_dir), "/var/spool/smtpguard",
     .sentence = "Folder of those files."},
    {"limits.idle", SET_DURATION, IN(limits.idle_ms), "300s", "1s", "1h",
     .sentence = "A client that says nothing is left after this."},
    {"limits.session", SET_DURATION, IN(limits.session_ms), "30m", "1s", "1d",
     .sentence = "A whole session. A message that comes at 4 KiB a second or more is waited for."},
    {"limits.data_rate", SET_NUMBER, IN(limits.data_rate), "500", "0", "1000000",
     .sentence = "Octets a second, over 60 s, that a message comes at least; 0: any."},

    {"tls.cert", SET_PATH, IN(tls.pair.cert), "/etc/smtpguard/tls/fullchain.pem",
     .sentence = "PEM file: the certificate, then its chain."},
    {"tls.key", SET_PATH, IN(tls.pair.key), "/etc/smtpguard/tls/privkey.pem",
     .sentence = "PEM file: its key."},
    {"tls.more", SET_RECORDS, IN(tls.more), "", COUNT_AT(tls.more_count), EACH(struct tls_pair),
     .sentence = "Further certificates, chosen by the name the client asks for (SNI)."},
    {"tls.more[].cert", SET_PATH, IN_PAIR(cert), NULL,
     .sentence = "As tls.cert."},
    {"tls.more[].key", SET_PATH, IN_PAIR(key), NULL,
     .sentence = "As tls.key."},
    {"tls.min_version", SET_WORD, IN(tls.min_version), "TLSv1.2", .words = versions,
     .sentence = "TLSv1.2 or TLSv1.3."},
    {"tls.ciphers", SET_CIPHERS, IN(tls.ciphers), "", .most = "1000",
     .sentence = "OpenSSL's list for TLS 1.2; empty: a sound default for port 25."},

    {"dns.servers", SET_SERVERS, IN(dns.servers), "", COUNT_AT(dns.servers_count),
     .sentence = "IP or IP:PORT, 8 at the most; empty: the system's. Use a resolver of your own: DNS "
                 "lists refuse public ones."},
    {"dns.timeout", SET_DURATION, IN(dns.timeout_ms), "5s", "100ms", "30s",
     .sentence = "A try."},
    {"dns.tries", SET_NUMBER, IN(dns.tries), "2", "1", "5",
     .sentence = "A question."},
    {"dns.cache_entries", SET_NUMBER, IN(dns.cache_entries), "100000", "1", "10000000",
     .sentence = "Answers kept, for each worker."},
    {"dns.stale", SET_DURATION, IN(dns.stale_ms), "1h", "0s", "1d",
     .sentence = "While the DNS does not answer, expired answers serve so long (RFC 8767); 0s: not at all."},
    {"dns.forgers", SET_WORD, IN(dns.forgers), "auto", .words = forgers,
     .sentence = "Who is between us and the servers: expected (many ports, letters of mixed case), none, or auto: "
                 "none when all servers are on loopback."},

    {"screen.banner_delay", SET_DURATION, IN(screen.banner_delay_ms), "2s", "0s", "30s",
     .sentence = "Before the banner, for clients without a good history only; who talks before it is an "
                 "early talker."},
    {"screen.early_talker", SET_WORD, IN(screen.early_talker), "enforce", .words = modes,
     .sentence = "off, observe or enforce."},
    {"screen.helo", SET_WORD, IN(screen.helo), "enforce", .words = modes,
     .sentence = "Its syntax, our own name, our own address: off, observe or enforce."},
    {"screen.fcrdns", SET_WORD, IN(screen.fcrdns), "observe", .words = modes,
     .sentence = "The client's address has a name that has the address: off, observe or enforce."},
    {"screen.sender_domain", SET_WORD, IN(screen.sender_domain), "enforce", .words = modes,
     .sentence = "The MAIL FROM domain has MX, A or AAAA: off, observe or enforce."},
    {"screen.bare_line_ends", SET_WORD, IN(screen.bare_line_ends), "refuse", .words = bare_ends,
     .sentence = "A bare CR, bare LF or NUL in a command or a message, which smuggle mail: refuse (550 "
                 "5.6.11), or drop (521, and the connection). Never let through."},

    {"dnsbl.mode", SET_WORD, IN(dnsbl.mode), "enforce", .words = modes,
     .sentence = "off, observe or enforce."},
    {"dnsbl.deadline", SET_DURATION, IN(dnsbl.deadline_ms), "4s", "100ms", "30s",
     .sentence = "For all lists together; a list without an answer counts nothing."},
    {"dnsbl.reject_score", SET_NUMBER, IN(dnsbl.reject_score), "8", "1", "1000",
     .sentence = "Refused from this sum on."},
    {"dnsbl.greylist_score", SET_NUMBER, IN(dnsbl.greylist_score), "2", "1", "1000",
     .sentence = "Suspicious, and so greylisted, from this sum on."},
    {"dnsbl.lists", SET_RECORDS, IN(dnsbl.lists), "", COUNT_AT(dnsbl.lists_count), EACH(struct dnsbl_list),
     .sentence = "The lists that are asked."},
    {"dnsbl.lists[].zone", SET_DOMAIN, IN_LIST(zone), NULL,
     .sentence = "The list's domain."},
    {"dnsbl.lists[].score", SET_NUMBER, IN_LIST(score), NULL, "-100", "100",
     .sentence = "What a listing counts; negative: an allow list."},
    {"dnsbl.lists[].codes", SET_CODES, IN_LIST(codes), NULL,
     .second = offsetof(struct dnsbl_list, codes_count),
     .sentence = "Answers that are a listing; any other is a query error and disables the list for a "
                 "while."},
    {"dnsbl.lists[].kind", SET_WORD, IN_LIST(kind), "addresses", .words = list_kinds,
     .sentence = "addresses: asked for the client. domains: for the names in HELO, PTR, MAIL FROM and From."},
    {"dnsbl.lists[].test_name", SET_DOMAIN, IN_LIST(test_name), "test",
     .sentence = "Of a list of domains: the name that it always lists (RFC 5782 5), as dbltest.com."},
    {"dnsbl.lists[].untested", SET_BOOL, IN_LIST(untested), "false",
     .sentence = "A list of one's own without the test entries of RFC 5782 5 (127.0.0.2 listed, 127.0.0.1 not)."},

    {"greylist.mode", SET_WORD, IN(greylist.mode), "enforce", .words = modes,
     .sentence = "off, observe or enforce."},
    {"greylist.when", SET_WORD, IN(greylist.when), "suspicious", .words = whens,
     .sentence = "suspicious (DNS list score, no FCrDNS, SPF not pass, odd HELO) or always."},
    {"greylist.delay", SET_SECONDS, IN(greylist.delay_s), "240s", "1s", "1d",
     .sentence = "From the first try until one passes."},
    {"greylist.window", SET_SECONDS, IN(greylist.window_s), "48h", "2s", "30d",
     .sentence = "The client comes again within it, or is a stranger again. More than delay."},
    {"greylist.keep", SET_SECONDS, IN(greylist.keep_s), "36d", "2s", "400d",
     .sentence = "What has passed is remembered so long after its last use."},
    {"greylist.allow_after", SET_NUMBER, IN(greylist.allow_after), "5", "0", "1000",
     .sentence = "Passed deliveries until a client is not asked any more; 0: never."},
    {"greylist.ipv4_prefix", SET_NUMBER, IN(greylist.ipv4_prefix), "24", "8", "32",
     .sentence = "Clients of one IPv4 network are one."},
    {"greylist.ipv6_prefix", SET_NUMBER, IN(greylist.ipv6_prefix), "64", "16", "128",
     .sentence = "Likewise IPv6."},
    {"greylist.allow", SET_ALLOW, NOWHERE, "",
     .sentence = "Never asked: networks, host names and domains (with what is below them), /pattern/ for host names, "
                 "or file:PATH: a file of these, a line each, such as postgrey's whitelist_clients. Files are watched."},
    {"greylist.allow_recipients", SET_ALLOW_RECIPIENTS, NOWHERE, "",
     .sentence = "Mail to them is never asked about: user@example.net, user@, domains (with what is below them), "
                 "/pattern/ for addresses, or file:PATH, such as postgrey's whitelist_recipients."},
    {"greylist.null_sender", SET_WORD, IN(greylist.null_sender), "suspicious", .words = whens,
     .sentence = "The same for bounces and call-backs (MAIL FROM:<>), for which one sign against the client must be "
                 "there before DATA; always: as `when` says."},

    {"spf.mode", SET_WORD, IN(spf.mode), "enforce", .words = modes,
     .sentence = "off, observe or enforce."},
    {"spf.on_fail", SET_WORD, IN(spf.on_fail), "mark", .words = events,
     .sentence = "mark (in the header), defer or reject."},
    {"spf.on_softfail", SET_WORD, IN(spf.on_softfail), "mark", .words = events,
     .sentence = "mark, defer or reject."},
    {"spf.on_temperror", SET_WORD, IN(spf.on_temperror), "mark", .words = events,
     .sentence = "mark, defer or reject."},
    {"spf.on_permerror", SET_WORD, IN(spf.on_permerror), "mark", .words = events,
     .sentence = "mark, defer or reject."},

    {"dkim.mode", SET_WORD, IN(dkim.mode), "enforce", .words = modes,
     .sentence = "off, observe or enforce."},
    {"dkim.min_rsa_bits", SET_NUMBER, IN(dkim.min_rsa_bits), "1024", "1024", "4096",
     .sentence = "Shorter keys do not count (RFC 8301 3.2)."},
    {"dkim.max_signatures", SET_NUMBER, IN(dkim.max_signatures), "6", "1", "50",
     .sentence = "Looked at in one message."},
    {"dkim.sha1", SET_WORD, IN(dkim.sha1), "policy", .words = sha1_results,
     .sentence = "What an rsa-sha1 signature is called, which is never a pass (RFC 8301 3.1): policy, neutral."},
    {"dkim.sign.mode", SET_WORD, IN(signing.mode), "off", .words = sign_modes,
     .sentence = "enforce: what leaves for clients of `networks` is signed. off."},
    {"dkim.sign.signing_table", SET_PATH, IN(signing.signing_table), "",
     .sentence = "OpenDKIM's SigningTable (refile:PATH, file:PATH or PATH), read as it is."},
    {"dkim.sign.key_table", SET_PATH, IN(signing.key_table), "",
     .sentence = "OpenDKIM's KeyTable, read as it is."},
    {"dkim.sign.internal_hosts", SET_PATH, IN(signing.internal_hosts), "",
     .sentence = "OpenDKIM's InternalHosts (TrustedHosts), read as it is: of the clients of `networks` only "
                 "these are signed for; empty: all."},
    {"dkim.sign.keys", SET_RECORDS, IN(signing.keys), "", COUNT_AT(signing.keys_count),
     EACH(struct dkim_keyring_key),
     .sentence = "Or keys, each with its domain, selector and file."},
    {"dkim.sign.keys[].domain", SET_DOMAIN, IN_KEY(domain), NULL,
     .sentence = "The signature's d=."},
    {"dkim.sign.keys[].selector", SET_DOMAIN, IN_KEY(selector), NULL,
     .sentence = "The signature's s=."},
    {"dkim.sign.keys[].key", SET_PATH, IN_KEY(path), NULL,
     .sentence = "The private key: a PEM file that runtime.user may read."},
    {"dkim.sign.keys[].match", SET_TEXTS, IN_KEY(match), "",
     .second = offsetof(struct dkim_keyring_key, match_count),
     .sentence = "Authors it signs for, as in *@example.net; empty: all of its domain."},
    {"dkim.sign.keys[].state", SET_WORD, IN_KEY(state), "active", .words = key_states,
     .sentence = "published (not used yet), active, retiring (not used any more, still in the DNS), revoked."},
    {"dkim.sign.unseen", SET_WORD, IN(signing.unseen), "refuse", .words = unseens,
     .sentence = "A key that the DNS does not show: refuse (to sign with it, with an alarm) or warn."},
    {"dkim.sign.valid", SET_SECONDS, IN(signing.valid_s), "0s", "0s", "400d",
     .sentence = "Signatures expire after it (x=); 0s: never."},
    {"dkim.sign.canonicalization", SET_WORD, IN(signing.canonicalization), "relaxed/relaxed",
     .words = canonicalizations,
     .sentence = "Header/body."},
    {"dkim.sign.oversign", SET_TEXTS, IN(signing.oversign), "from,to,cc,subject,date,message-id,reply-to",
     COUNT_AT(signing.oversign_count),
     .sentence = "Fields that nobody may add later."},

    {"arc.mode", SET_WORD, IN(arc.verify.mode), "observe", .words = modes,
     .sentence = "off; observe: chains are verified and recorded; enforce: those of trusted sealers count."},
    {"arc.max_sets", SET_NUMBER, IN(arc.verify.max_sets), "50", "1", "50",
     .sentence = "Hops of a chain that are looked at (RFC 8617 4.2.1)."},
    {"arc.trusted_sealers", SET_TEXTS, IN(arc.trusted_sealers), "", COUNT_AT(arc.trusted_count),
     .sentence = "Domains that are believed: a DMARC pass they saw excuses a fail here."},

    {"dmarc.mode", SET_WORD, IN(dmarc.mode), "enforce", .words = modes,
     .sentence = "off, observe or enforce."},
    {"dmarc.reject", SET_WORD, IN(dmarc.reject), "evidence", .words = rejects,
     .sentence = "p=reject: evidence (RFC 9989: not for p=reject alone), always, or never (mark)."},
    {"dmarc.quarantine", SET_WORD, IN(dmarc.quarantine), "mark", .words = quarantines,
     .sentence = "p=quarantine: mark (in the header) or reject."},
    {"dmarc.on_temperror", SET_WORD, IN(dmarc.on_temperror), "mark", .words = events,
     .sentence = "mark, defer or reject."},
    {"dmarc.from_invalid", SET_WORD, IN(dmarc.from_invalid), "reject", .words = mark_or_reject,
     .sentence = "No From, several, or several domains in it: reject or mark."},

    {"reports.from", SET_TEXT, IN(reports.from), "", .most = "254",
     .sentence = "Address that reports come from; bounces go to it, too (VERP)."},
    {"reports.org_name", SET_TEXT, IN(reports.org_name), "", .most = "200",
     .sentence = "Who reports; empty: the domain of `from`."},
    {"reports.aggregate.enabled", SET_BOOL, IN(reports.aggregate), "false",
     .sentence = "Daily reports to the domains that ask for them."},
    {"reports.aggregate.format", SET_WORD, IN(reports.format), "rfc7489", .words = report_formats,
     .sentence = "rfc7489 or rfc9990."},
    {"reports.aggregate.at", SET_TIME, IN(reports.at_s), "00:30",
     .sentence = "UTC."},
    {"reports.aggregate.max_size", SET_SIZE, IN(reports.max_bytes), "10M", "64K", "100M",
     .sentence = "Of one report."},
    {"reports.aggregate.daily_cap", SET_NUMBER, IN(reports.daily_cap), "1000", "1", "1000000",
     .sentence = "Reports a day."},
    {"reports.aggregate.dry_run_dir", SET_PATH, IN(reports.dry_run_dir), "",
     .sentence = "Write them here instead of sending."},
    {"reports.failure.enabled", SET_BOOL, IN(reports.failure), "false",
     .sentence = "Reports on single messages, to the domains that ask for them with ruf=."},
    {"reports.failure.per_domain_per_hour", SET_NUMBER, IN(reports.failure_per_domain), "10", "1", "10000",
     .sentence = "At the most."},
    {"reports.failure.body", SET_BOOL, IN(reports.failure_body), "false",
     .sentence = "With the body of the message (its first 64K), not only with its header fields."},
    {"reports.failure.redact", SET_BOOL, IN(reports.failure_redact), "true",
     .sentence = "Local parts of addresses in header fields and envelope are replaced (RFC 6590)."},
    {"reports.suppress", SET_TEXTS, IN(reports.suppress), "", COUNT_AT(reports.suppress_count),
     .sentence = "Domains and addresses that get none."},

    {"store.url", SET_STORE_URL, IN(store.url), "sqlite:/var/lib/smtpguard/state.db",
     .sentence = "sqlite:PATH for one host; redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE] or "
                 "redis+sentinel://[…@]HOST[:PORT],…/MASTER[/DATABASE] or redis+cluster://[…@]HOST[:PORT],… (rediss: with "
                 "TLS) for any number of hosts that share it (docs/scaling.md)."},
    {"store.local", SET_PATH, IN(store.local), "/var/lib/smtpguard/state.db",
     .sentence = "With redis: the SQLite file that answers while the server does not."},
    {"store.timeout", SET_DURATION, IN(store.timeout_ms), "50ms", "1ms", "10s",
     .sentence = "Beyond it the store has no answer; with redis, store.local answers."},
    {"store.history", SET_DURATION, IN(history.keep_ms), "7d", "0s", "400d",
     .sentence = "Decisions are on record for so long, for history and explain; 0s: none are kept, and those that "
                 "there are go (docs/explain.md)."},
    {"store.history_size", SET_SIZE, IN(history.bytes_max), "256M", "1M", "1024G",
     .sentence = "Of all records, in the folder `history` beside the store's file; the oldest go first."},

    {"log.target", SET_WORD, IN(log.target), "stderr", .words = targets,
     .sentence = "stderr or syslog."},
    {"log.format", SET_WORD, IN(log.format), "logfmt", .words = formats,
     .sentence = "logfmt or json."},
    {"log.level", SET_WORD, IN(log.level), "info", .words = levels,
     .sentence = "error, warning, info or debug."},
    {"log.privacy", SET_WORD, IN(log.privacy), "none", .words = privacies,
     .sentence = "Mail addresses: none (as they are), hash, or domains (only these)."},
    {"admin.http", SET_HTTP, IN(admin.http), "127.0.0.1:9925",
     .sentence = "IP:PORT of /metrics, /healthz and /readyz; empty: none."},
    {"admin.socket", SET_PATH, IN(admin.socket), "/run/smtpguard/control.sock", .most = "107",
     .sentence = "Path of the control socket (smtpguard status, reload, …); its folder is made when it is not there; "
                 "empty: none."},
    {"runtime.workers", SET_WORKERS, IN(runtime.workers), "auto", "1", "256",
     .sentence = "Threads that serve sessions; auto: one a core."},
    {"runtime.user", SET_NAME, IN(runtime.user), "smtpguard", .most = "32",
     .sentence = "Whom to become when started as root."},
    {"runtime.drain", SET_DURATION, IN(runtime.drain_ms), "60s", "0s", "1h",
     .sentence = "Sessions may end by themselves for so long after SIGTERM."},
};
/* clang-format on */
const size_t settings_count = sizeof(settings) / sizeof(settings[0]);

const struct setting *setting_find(struct str key)
{
    for (size_t i = 0; i < settings_count; i++)
        if (str_eq_z(key, settings[i].key))
            return &settings[i];
    return NULL;
}

bool setting_is_list(const struct setting *row)
{
    return row->type >= SET_SERVERS && row->type < SET_RECORDS;
}

bool setting_is_number(const struct setting *row)
{
    return row->type == SET_NUMBER;
}

void setting_children(struct arena *mem, struct str prefix, setting_child_fn *each, void *arg)
{
    struct str last = {0};

    for (size_t i = 0; i < settings_count; i++) {
        struct str key = str_of(settings[i].key), rest = str_from(key, prefix.n), segment;

        if (!str_starts(key, prefix) || str_has(rest, '['))
            continue;
        str_cut(rest, '.', &segment, &rest);
        if (!str_eq(segment, last))
            each(str_dup(mem, segment), arg);
        last = segment;
    }
}
