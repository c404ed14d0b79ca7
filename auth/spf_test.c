#include "auth/spf.h"

#include "auth/spf_macro.h"
#include "auth/spf_record.h"
#include "base/bug.h"
#include "tests/fakedns.h"
#include "tests/t.h"

#include <jansson.h>
#include <stdio.h>

struct run {
    struct arena *mem;
    struct spf_query *query;
    const struct spf_answer *answer;
    int calls;
};

static void on_done(const struct spf_answer *answer, void *arg)
{
    struct run *run = arg;

    run->answer = answer;
    run->query = NULL;
    run->calls++;
}

static void start(struct run *run, struct fakedns *fake, const struct spf_ask *ask)
{
    run->query = spf_start(run->mem, fakedns_dns(fake), ask, on_done, run);
    t_same_int(run->calls, 0);
}

static const struct spf_answer *evaluate(struct run *run, struct fakedns *fake, const struct spf_ask *ask)
{
    run->calls = 0;
    start(run, fake, ask);
    fakedns_run(fake);
    t_same_int(run->calls, 1);
    t_same_int(fakedns_waiting(fake), 0);
    return run->answer;
}

static struct ip address(const char *text)
{
    struct ip ip = {0};

    if (*text != '\0' && !ip_parse(str_of(text), &ip))
        t_fail("\"%s\" is no address", text);
    return ip;
}

static struct spf_ask ask_for(const char *client, const char *helo, const char *mail_from)
{
    return (struct spf_ask){.client = address(client),
                            .helo = helo,
                            .mail_from = mail_from,
                            .scope = SPF_MFROM,
                            .receiver = "mx.receiver.test",
                            .now_unix = 1700000000};
}

/* ---- rows ---- */

static const char zone[] =
    "ip4.test TXT v=spf1 ip4:192.0.2.0/24 -all\n"
    "ip6.test TXT v=spf1 ip6:2001:db8::/32 -all\n"
    "mapped.test TXT v=spf1 -ip6:::ffff:192.0.2.7 ip4:192.0.2.7 -all\n"
    "all6.test TXT v=spf1 ip6:::ffff:0:0/0 -all\n"
    "norecord.test TXT hello\n"
    "two.test TXT v=spf1 -all\n"
    "two.test TXT V=SPF1 +all\n"
    "other.test TXT v=spf10 -all\n"
    "other.test TXT v=spf1 ?all\n"
    "empty.test TXT v=spf1\n"
    "broken.test TXT v=spf1 +all moo\n"
    "servfail.test RCODE servfail\n"
    "refused.test RCODE refused\n"
    "timeout.test RCODE timeout\n"
    "nothing.test TXT v=spf1 ip4:203.0.113.1\n"
    "soft.test TXT v=spf1 ~all\n"
    "question.test TXT v=spf1 ?all\n"
    "after-all.test TXT v=spf1 -all ip4:192.0.2.7 redirect=ip4.test\n"
    /* a */
    "a.test TXT v=spf1 a -all\n"
    "a.test A 192.0.2.7\n"
    "a.test AAAA 2001:db8::7\n"
    "a24.test TXT v=spf1 a:a.test/24//64 -all\n"
    "adead.test TXT v=spf1 a:timeout.test -all\n"
    "along.test TXT v=spf1 a:%{l1r+}.x..test -all\n"
    /* mx */
    "mx.test TXT v=spf1 mx -all\n"
    "mx.test MX 20 b.mx.test\n"
    "mx.test MX 10 a.mx.test\n"
    "a.mx.test A 192.0.2.1\n"
    "b.mx.test A 192.0.2.7\n"
    "nomx.test TXT v=spf1 mx ?all\n"
    "nomx.test A 192.0.2.7\n"
    "nullmx.test TXT v=spf1 mx -all\n"
    "nullmx.test MX 0 .\n"
    "mxdead.test TXT v=spf1 mx -all\n"
    "mxdead.test MX 10 timeout.test\n"
    "mxten.test TXT v=spf1 mx -all\n"
    "mxten.test MX 1 h1.test\nmxten.test MX 2 h2.test\nmxten.test MX 3 h3.test\nmxten.test MX 4 h4.test\n"
    "mxten.test MX 5 h5.test\nmxten.test MX 6 h6.test\nmxten.test MX 7 h7.test\nmxten.test MX 8 h8.test\n"
    "mxten.test MX 9 h9.test\nmxten.test MX 10 a.test\n"
    "mxeleven.test TXT v=spf1 mx -all\n"
    "mxeleven.test MX 1 a.test\nmxeleven.test MX 2 h2.test\nmxeleven.test MX 3 h3.test\nmxeleven.test MX 4 "
    "h4.test\n"
    "mxeleven.test MX 5 h5.test\nmxeleven.test MX 6 h6.test\nmxeleven.test MX 7 h7.test\nmxeleven.test MX 8 "
    "h8.test\n"
    "mxeleven.test MX 9 h9.test\nmxeleven.test MX 10 h1.test\nmxeleven.test MX 11 h11.test\n"
    /* ptr */
    "ptr.test TXT v=spf1 ptr -all\n"
    "7.2.0.192.in-addr.arpa PTR liar.test\n"
    "7.2.0.192.in-addr.arpa PTR host.ptr.test\n"
    "7.2.0.192.in-addr.arpa PTR forged.ptrfake.test\n"
    "host.ptr.test A 192.0.2.7\n"
    "forged.ptrfake.test A 192.0.2.8\n"
    "liar.test RCODE timeout\n"
    "ptrfake.test TXT v=spf1 ptr -all\n"
    "ptrs.test TXT v=spf1 ptr ptr:a.test ptr:b.test +all\n"
    "ptrvoid.test TXT v=spf1 ptr ptr ptr +all\n"
    "51.113.0.203.in-addr.arpa PTR absent.ptrvoid.test\n"
    "ptrliar.test TXT v=spf1 ptr:liar.test ?all\n"
    "9.2.0.192.in-addr.arpa RCODE servfail\n"
    "10.2.0.192.in-addr.arpa PTR p1.test\n10.2.0.192.in-addr.arpa PTR p2.test\n10.2.0.192.in-addr.arpa PTR "
    "p3.test\n"
    "10.2.0.192.in-addr.arpa PTR p4.test\n10.2.0.192.in-addr.arpa PTR p5.test\n10.2.0.192.in-addr.arpa PTR "
    "p6.test\n"
    "10.2.0.192.in-addr.arpa PTR p7.test\n10.2.0.192.in-addr.arpa PTR p8.test\n10.2.0.192.in-addr.arpa PTR "
    "p9.test\n"
    "10.2.0.192.in-addr.arpa PTR p10.ptr.test\n10.2.0.192.in-addr.arpa PTR p11.ptr2.test\n"
    "p10.ptr.test A 192.0.2.10\n"
    "p11.ptr2.test A 192.0.2.10\n"
    "ptr2.test TXT v=spf1 ptr -all\n"
    /* exists */
    "exists.test TXT v=spf1 exists:%{ir}.list.exists.test -all\n"
    "7.2.0.192.list.exists.test A 127.0.0.2\n"
    "exists6.test TXT v=spf1 exists:a.mx.test -all\n"
    "existsdead.test TXT v=spf1 exists:timeout.test -all\n"
    /* include and redirect */
    "inc.test TXT v=spf1 include:ip4.test ?all\n"
    "incnone.test TXT v=spf1 include:norecord.test +all\n"
    "incnx.test TXT v=spf1 include:absent.test +all\n"
    "incdead.test TXT v=spf1 include:timeout.test +all\n"
    "incbroken.test TXT v=spf1 include:broken.test +all\n"
    "incloop.test TXT v=spf1 include:incloop.test\n"
    "inclabel.test TXT v=spf1 include:%{h} +all\n"
    "incredir.test TXT v=spf1 include:redir.test -all\n"
    "redir.test TXT v=spf1 redirect=ip4.test\n"
    "redirnone.test TXT v=spf1 redirect=norecord.test\n"
    "redirloop.test TXT v=spf1 redirect=redirloop.test\n"
    "redird.test TXT v=spf1 redirect=_d.redird.test\n"
    "_d.redird.test TXT v=spf1 exists:%{d}.and.%{o} -all\n"
    "_d.redird.test.and.redird.test A 127.0.0.2\n"
    /* limits */
    "ten.test TXT v=spf1 a:h1.test a:h1.test a:h1.test a:h1.test a:h1.test a:h1.test a:h1.test a:h1.test "
    "a:h1.test a:a.test\n"
    "eleven.test TXT v=spf1 a:h1.test a:h1.test a:h1.test a:h1.test a:h1.test a:h1.test a:h1.test a:h1.test "
    "a:h1.test"
    " include:empty.test ip4:192.0.2.0/24 a:a.test\n"
    "over.test TXT v=spf1 a:h1.test a:h1.test a:h1.test a:h1.test a:h1.test a:h1.test a:h1.test a:h1.test "
    "a:h1.test"
    " include:empty.test a:a.test ip4:192.0.2.0/24\n"
    "free.test TXT v=spf1 ip4:10.0.0.1 ip4:10.0.0.2 ip4:10.0.0.3 ip4:10.0.0.4 ip4:10.0.0.5 ip4:10.0.0.6 "
    "ip4:10.0.0.7"
    " ip4:10.0.0.8 ip4:10.0.0.9 ip4:10.0.0.10 ip4:10.0.0.11 ip4:192.0.2.7 -all\n"
    "void2.test TXT v=spf1 a:absent.test exists:mx.test ?all\n"
    "void3.test TXT v=spf1 a:absent.test exists:mx.test mx:absent.test +all\n"
    "voidmx.test TXT v=spf1 mx a:absent.test -all\n"
    "two4.test TXT v=spf1 mx:m1.two4.test mx:m2.two4.test -all\n"
    "m1.two4.test MX 1 h1.test\nm1.two4.test MX 1 h2.test\nm2.two4.test MX 1 h3.test\nm2.two4.test MX 1 h4.test\n"
    "three4.test TXT v=spf1 mx:m1.two4.test mx:m2.two4.test a:h5.test -all\n"
    "voidmx.test MX 1 absent1.test\nvoidmx.test MX 1 absent2.test\nvoidmx.test MX 1 absent3.test\n"
    "h1.test A 203.0.113.1\nh2.test A 203.0.113.1\nh3.test A 203.0.113.1\nh4.test A 203.0.113.1\n"
    "h5.test A 203.0.113.1\nh6.test A 203.0.113.1\nh7.test A 203.0.113.1\nh8.test A 203.0.113.1\nh9.test A "
    "203.0.113.1\n"
    "xn--bcher-kva.test TXT v=spf1 +all\n"
    /* macros */
    "local.test TXT v=spf1 exists:%{l}.u.local.test -all\n"
    "joe.u.local.test A 127.0.0.2\n"
    "postmaster.u.local.test A 127.0.0.2\n"
    "p.test TXT v=spf1 exists:%{p}.p.test -all\n"
    "host.ptr.test.p.test A 127.0.0.2\n"
    "unknown.p.test A 127.0.0.2\n"
    "given.client.test.p.test A 127.0.0.2\n";

static const struct {
    const char *name, *rfc, *client, *helo, *mail_from;
    enum spf_result want;
} rows[] = {
    {"a listed ip4 network passes", "7208 5.6", "192.0.2.7", "h.test", "u@ip4.test", SPF_PASS},
    {"-all fails everybody else", "7208 5.1", "203.0.113.9", "h.test", "u@ip4.test", SPF_FAIL},
    {"a listed ip6 network passes", "7208 5.6", "2001:db8:5::1", "h.test", "u@ip6.test", SPF_PASS},
    {"an IPv6 client outside of it fails", "7208 5.6", "2001:db9::1", "h.test", "u@ip6.test", SPF_FAIL},
    {"an IPv4 client never matches ip6", "7208 5.6", "192.0.2.7", "h.test", "u@all6.test", SPF_FAIL},
    {"a mapped network with a short prefix is IPv6", "7208 5.6", "2001:db8::1", "h.test", "u@all6.test",
     SPF_PASS},
    {"a mapped client is an IPv4 client", "7208 5", "::ffff:192.0.2.7", "h.test", "u@mapped.test", SPF_PASS},
    {"an IPv6 client never matches ip4", "7208 5.6", "2001:db8::1", "h.test", "u@ip4.test", SPF_FAIL},

    {"a domain that does not exist is none", "7208 4.3", "192.0.2.7", "h.test", "u@absent.test", SPF_NONE},
    {"a single label is none", "7208 4.3", "192.0.2.7", "h.test", "u@localhost", SPF_NONE},
    {"an empty label is none", "7208 4.3", "192.0.2.7", "h.test", "u@ip4..test", SPF_NONE},
    {"an address literal is none", "7208 4.3", "192.0.2.7", "h.test", "u@[192.0.2.7]", SPF_NONE},
    {"a bare address is none", "7208 4.3", "192.0.2.7", "192.0.2.7", "", SPF_NONE},
    {"a sender without a domain is none", "7208 4.3", "192.0.2.7", "h.test", "u@", SPF_NONE},
    {"a HELO of rubbish is none", "7208 4.3", "192.0.2.7", "\x01 \xff.test", "", SPF_NONE},
    {"a final dot of the domain is no label", "7208 4.3", "192.0.2.7", "h.test", "u@ip4.test.", SPF_PASS},
    {"upper case makes no difference", "7208 4.3", "192.0.2.7", "h.test", "u@IP4.Test", SPF_PASS},
    {"the last @ divides", "7208 4.3", "192.0.2.7", "h.test", "\"a@b\"@ip4.test", SPF_PASS},
    {"no local part is postmaster", "7208 4.3", "192.0.2.7", "h.test", "@local.test", SPF_PASS},
    {"the local part fills %{l}", "7208 7.2", "192.0.2.7", "h.test", "joe@local.test", SPF_PASS},
    {"another local part does not", "7208 7.2", "192.0.2.7", "h.test", "jim@local.test", SPF_FAIL},
    {"the null sender is postmaster at HELO", "7208 2.4", "192.0.2.7", "local.test", "", SPF_PASS},

    {"TXT records that are not SPF are none", "7208 4.5", "192.0.2.7", "h.test", "u@norecord.test", SPF_NONE},
    {"two records are permerror", "7208 4.5", "192.0.2.7", "h.test", "u@two.test", SPF_PERMERROR},
    {"v=spf10 is no SPF record", "7208 4.5", "192.0.2.7", "h.test", "u@other.test", SPF_NEUTRAL},
    {"an empty record is neutral", "7208 4.7", "192.0.2.7", "h.test", "u@empty.test", SPF_NEUTRAL},
    {"no match is neutral", "7208 4.7", "192.0.2.7", "h.test", "u@nothing.test", SPF_NEUTRAL},
    {"an error behind +all is found", "7208 4.6", "192.0.2.7", "h.test", "u@broken.test", SPF_PERMERROR},
    {"SERVFAIL is temperror", "7208 4.4", "192.0.2.7", "h.test", "u@servfail.test", SPF_TEMPERROR},
    {"REFUSED is temperror", "7208 4.4", "192.0.2.7", "h.test", "u@refused.test", SPF_TEMPERROR},
    {"a time-out is temperror", "7208 4.4", "192.0.2.7", "h.test", "u@timeout.test", SPF_TEMPERROR},

    {"~ is softfail", "7208 4.6.2", "192.0.2.7", "h.test", "u@soft.test", SPF_SOFTFAIL},
    {"? is neutral", "7208 4.6.2", "192.0.2.7", "h.test", "u@question.test", SPF_NEUTRAL},
    {"nothing counts behind all", "7208 5.1", "192.0.2.7", "h.test", "u@after-all.test", SPF_FAIL},

    {"a matches the domain's A", "7208 5.3", "192.0.2.7", "h.test", "u@a.test", SPF_PASS},
    {"a asks AAAA for an IPv6 client", "7208 5.3", "2001:db8::7", "h.test", "u@a.test", SPF_PASS},
    {"a does not match other addresses", "7208 5.3", "192.0.2.8", "h.test", "u@a.test", SPF_FAIL},
    {"a matches in the network of its prefix", "7208 5.3", "192.0.2.99", "h.test", "u@a24.test", SPF_PASS},
    {"the IPv6 prefix has two slashes", "7208 5.3", "2001:db8::99", "h.test", "u@a24.test", SPF_PASS},
    {"a is temperror when the DNS is silent", "7208 5", "192.0.2.7", "h.test", "u@adead.test", SPF_TEMPERROR},
    {"a name that cannot be asked does not match", "7208 4.8", "192.0.2.7", "h.test", "u@along.test",
     SPF_FAIL},

    {"mx matches the second MX", "7208 5.4", "192.0.2.7", "h.test", "u@mx.test", SPF_PASS},
    {"mx does not match elsewhere", "7208 5.4", "192.0.2.9", "h.test", "u@mx.test", SPF_FAIL},
    {"no MX: the domain is not its own", "7208 5.4", "192.0.2.7", "h.test", "u@nomx.test", SPF_NEUTRAL},
    {"a null MX matches nobody", "7208 5.4", "192.0.2.7", "h.test", "u@nullmx.test", SPF_FAIL},
    {"an MX host that is silent is temperror", "7208 5", "192.0.2.7", "h.test", "u@mxdead.test",
     SPF_TEMPERROR},
    {"ten MX hosts are asked", "7208 4.6.4", "192.0.2.7", "h.test", "u@mxten.test", SPF_PASS},
    {"eleven are permerror", "7208 4.6.4", "192.0.2.7", "h.test", "u@mxeleven.test", SPF_PERMERROR},

    {"ptr matches a validated name below", "7208 5.5", "192.0.2.7", "h.test", "u@ptr.test", SPF_PASS},
    {"ptr does not believe a forged name", "7208 5.5", "192.0.2.7", "h.test", "u@ptrfake.test", SPF_FAIL},
    {"ptr skips a name that is silent", "7208 5.5", "192.0.2.7", "h.test", "u@ptrliar.test", SPF_NEUTRAL},
    {"a reverse zone that is broken is no match", "7208 5.5", "192.0.2.9", "h.test", "u@ptr.test", SPF_FAIL},
    {"the tenth name is used", "7208 4.6.4", "192.0.2.10", "h.test", "u@ptr.test", SPF_PASS},
    {"the eleventh is not", "7208 4.6.4", "192.0.2.10", "h.test", "u@ptr2.test", SPF_FAIL},

    {"exists matches when there is an A", "7208 5.7", "192.0.2.7", "h.test", "u@exists.test", SPF_PASS},
    {"exists does not without", "7208 5.7", "192.0.2.8", "h.test", "u@exists.test", SPF_FAIL},
    {"exists asks A for an IPv6 client too", "7208 5.7", "2001:db8::7", "h.test", "u@exists6.test", SPF_PASS},
    {"exists is temperror when the DNS is silent", "7208 5", "192.0.2.7", "h.test", "u@existsdead.test",
     SPF_TEMPERROR},

    {"include matches a pass", "7208 5.2", "192.0.2.7", "h.test", "u@inc.test", SPF_PASS},
    {"include of a fail goes on", "7208 5.2", "203.0.113.9", "h.test", "u@inc.test", SPF_NEUTRAL},
    {"include of none is permerror", "7208 5.2", "192.0.2.7", "h.test", "u@incnone.test", SPF_PERMERROR},
    {"include of no domain is permerror", "7208 5.2", "192.0.2.7", "h.test", "u@incnx.test", SPF_PERMERROR},
    {"include of a single label is permerror", "7208 5.2", "192.0.2.7", "localhost", "u@inclabel.test",
     SPF_PERMERROR},
    {"include of temperror is temperror", "7208 5.2", "192.0.2.7", "h.test", "u@incdead.test", SPF_TEMPERROR},
    {"include of permerror is permerror", "7208 5.2", "192.0.2.7", "h.test", "u@incbroken.test",
     SPF_PERMERROR},
    {"a redirect inside an include", "7208 6.1", "192.0.2.7", "h.test", "u@incredir.test", SPF_PASS},
    {"its fail is the include's", "7208 6.1", "192.0.2.77", "h.test", "u@incredir.test", SPF_PASS},
    {"an include of itself ends", "7208 4.6.4", "192.0.2.7", "h.test", "u@incloop.test", SPF_PERMERROR},
    {"redirect gives the other's result", "7208 6.1", "203.0.113.9", "h.test", "u@redir.test", SPF_FAIL},
    {"redirect to none is permerror", "7208 6.1", "192.0.2.7", "h.test", "u@redirnone.test", SPF_PERMERROR},
    {"a redirect to itself ends", "7208 4.6.4", "192.0.2.7", "h.test", "u@redirloop.test", SPF_PERMERROR},
    {"redirect changes %{d} and not %{o}", "7208 6.1", "192.0.2.7", "h.test", "u@redird.test", SPF_PASS},

    {"ten terms that ask are allowed", "7208 4.6.4", "192.0.2.7", "h.test", "u@ten.test", SPF_PASS},
    {"an eleventh that is not reached too", "7208 4.6.4", "192.0.2.7", "h.test", "u@eleven.test", SPF_PASS},
    {"an eleventh that is reached, permerror", "7208 4.6.4", "192.0.2.7", "h.test", "u@over.test",
     SPF_PERMERROR},
    {"ip4 does not count", "7208 4.6.4", "192.0.2.7", "h.test", "u@free.test", SPF_PASS},
    {"two void lookups are allowed", "7208 4.6.4", "192.0.2.7", "h.test", "u@void2.test", SPF_NEUTRAL},
    {"a third is permerror", "7208 4.6.4", "192.0.2.7", "h.test", "u@void3.test", SPF_PERMERROR},
    {"each ptr of a client without names is one", "7208 4.6.4", "203.0.113.50", "h.test", "u@ptrs.test",
     SPF_PERMERROR},
    {"and of one whose name has no address", "7208 4.6.4", "203.0.113.51", "h.test", "u@ptrvoid.test",
     SPF_PERMERROR},
    {"terms are counted, not an mx's dead hosts", "7208 4.6.4", "192.0.2.7", "h.test", "u@voidmx.test",
     SPF_FAIL},
    {"nor its hosts that have no IPv6", "7208 4.6.4", "2001:db8::1", "h.test", "u@two4.test", SPF_FAIL},
    {"but each term of such hosts is one", "7208 4.6.4", "2001:db8::1", "h.test", "u@three4.test", SPF_PERMERROR},

    {"%{p} is the validated name", "7208 7.3", "192.0.2.7", "h.test", "u@p.test", SPF_PASS},
    {"%{p} is unknown without one", "7208 7.3", "192.0.2.9", "h.test", "u@p.test", SPF_PASS},
    {"U-labels are asked for as A-labels", "8616 4", "192.0.2.7", "h.test",
     "u@b\xc3\xbc"
     "cher.test",
     SPF_PASS},
    {"a local part beyond ASCII matches nothing", "8616 4", "192.0.2.7", "h.test", "j\xc3\xb6@local.test",
     SPF_FAIL},
};

static void test_rows(void **state)
{
    struct fakedns *fake = fakedns_new();
    struct run run = {.mem = arena_new(0)};

    (void)state;
    fakedns_add_text(fake, zone);
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct spf_ask ask = ask_for(rows[i].client, rows[i].helo, rows[i].mail_from);
        const struct spf_answer *answer;

        t_case(rows[i].name, rows[i].rfc);
        answer = evaluate(&run, fake, &ask);
        t_same_z(spf_result_name(answer->result), spf_result_name(rows[i].want));
        t_true(answer->reason != NULL && *answer->reason != '\0');
        t_true(answer->domain != NULL);
        t_same_z(answer->explanation, "");
    }
    arena_free(&run.mem);
    fakedns_free(&fake);
}

/* ---- what the answer says beside the result ---- */

static void test_answer(void **state)
{
    struct fakedns *fake = fakedns_new();
    struct run run = {.mem = arena_new(0)};
    const struct spf_answer *answer;
    struct spf_ask ask;

    (void)state;
    fakedns_add_text(fake, zone);

    t_case("the term that matched, as in the record", "7208 9.1");
    ask = ask_for("192.0.2.7", "h.test", "u@IP4.test");
    answer = evaluate(&run, fake, &ask);
    t_same_z(answer->mechanism, "ip4:192.0.2.0/24");
    t_same_z(answer->domain, "ip4.test");
    t_same_z(spf_scope_name(answer->scope), "mfrom");
    t_same_z(answer->reason, "192.0.2.7 matches \"ip4:192.0.2.0/24\" in the record of ip4.test");
    t_same_int(answer->lookups, 0);

    t_case("the include that matched, and why", "7208 9.1");
    ask = ask_for("192.0.2.7", "h.test", "u@inc.test");
    answer = evaluate(&run, fake, &ask);
    t_same_z(answer->mechanism, "include:ip4.test");
    t_same_z(answer->reason,
             "192.0.2.7 matches \"ip4:192.0.2.0/24\" in the record of ip4.test, included by inc.test");
    t_same_int(answer->lookups, 1);

    t_case("default when no term matched", "7208 9.1");
    ask = ask_for("192.0.2.7", "h.test", "u@nothing.test");
    t_same_z(evaluate(&run, fake, &ask)->mechanism, "default");

    t_case("no mechanism without a record", "7208 9.1");
    ask = ask_for("192.0.2.7", "h.test", "u@absent.test");
    t_true(evaluate(&run, fake, &ask)->mechanism == NULL);

    t_case("the HELO identity does not look at MAIL FROM", "7208 2.3");
    ask = ask_for("192.0.2.7", "local.test", "u@soft.test");
    ask.scope = SPF_HELO;
    answer = evaluate(&run, fake, &ask);
    t_same_int(answer->result, SPF_PASS);
    t_same_z(answer->domain, "local.test");
    t_same_z(spf_scope_name(answer->scope), "helo");

    t_case("the null sender's scope is helo", "7208 2.4");
    ask = ask_for("192.0.2.7", "local.test", "");
    t_same_int(evaluate(&run, fake, &ask)->scope, SPF_HELO);

    t_case("void lookups are told", "7208 4.6.4");
    ask = ask_for("192.0.2.7", "h.test", "u@void3.test");
    answer = evaluate(&run, fake, &ask);
    t_same_int(answer->void_lookups, 3);
    t_same_int(answer->lookups, 3);

    t_case("a name of the client that is known need not be asked for", "7208 7.3");
    ask = ask_for("192.0.2.8", "h.test", "u@p.test");
    ask.client_name = "given.client.test";
    t_same_int(evaluate(&run, fake, &ask)->result, SPF_PASS);

    t_case("no client address is none", "7208 4.1");
    ask = ask_for("", "h.test", "u@ip4.test");
    t_same_int(evaluate(&run, fake, &ask)->result, SPF_NONE);

    t_case("what comes from outside is shown as ASCII", "7208 4.3");
    ask = ask_for("192.0.2.7", "\x1b[2J\r\n.test", "");
    t_same_z(evaluate(&run, fake, &ask)->domain, "?[2J??.test");

    arena_free(&run.mem);
    fakedns_free(&fake);
}

/* ---- explanations ---- */

static const struct {
    const char *name, *rfc, *mail_from, *want;
} explanations[] = {
    {"exp= is filled in", "7208 6.2", "u@exp.test", "192.0.2.7 may not send for u@exp.test"},
    {"c, r and t are for explanations", "7208 7.2", "u@crt.test", "192.0.2.7 mx.receiver.test 1700000000"},
    {"URL escapes", "7208 7.3", "a b@url.test", "http://x/?s=a%20b%40url.test"},
    {"no explanation without a fail", "7208 6.2", "u@softexp.test", ""},
    {"of two records none", "7208 6.2", "u@twoexp.test", ""},
    {"none when the DNS is silent", "7208 6.2", "u@deadexp.test", ""},
    {"none when the name is absent, and no void lookup", "7208 4.6.4", "u@voidexp.test", ""},
    {"none with a syntax error", "7208 6.2", "u@badexp.test", ""},
    {"none beyond ASCII", "7208 6.2", "u@eightexp.test", ""},
    {"none longer than we keep", "7208 6.2", "u@longexp.test", ""},
    {"octets of the sender beyond ASCII are hidden", "7208 6.2", "\xff@exp.test",
     "192.0.2.7 may not send for ?@exp.test"},
    {"the included record's is not used", "7208 6.2", "u@incexp.test", "own"},
    {"the redirected record's is used", "7208 6.2", "u@redirexp.test",
     "192.0.2.7 may not send for u@redirexp.test"},
    {"the first record's is not, then", "7208 6.2", "u@redirfail.test", ""},
    {"%{p} in the name and in the text", "7208 7.3", "u@pexp.test", "from host.ptr.test"},
};

static void test_explanations(void **state)
{
    static const char exp_zone[] = "exp.test TXT v=spf1 exp=e.%{d} -all\n"
                                   "e.exp.test TXT %{i} may not send for %{s}\n"
                                   "crt.test TXT v=spf1 -all exp=e.crt.test\n"
                                   "e.crt.test TXT %{c} %{r} %{t}\n"
                                   "url.test TXT v=spf1 -all exp=e.url.test\n"
                                   "e.url.test TXT http://x/?s=%{S}\n"
                                   "softexp.test TXT v=spf1 ~all exp=e.exp.test\n"
                                   "twoexp.test TXT v=spf1 -all exp=e.twoexp.test\n"
                                   "e.twoexp.test TXT one\ne.twoexp.test TXT two\n"
                                   "deadexp.test TXT v=spf1 -all exp=dead.test\n"
                                   "dead.test RCODE timeout\n"
                                   "voidexp.test TXT v=spf1 a:v1.test a:v2.test -all exp=v3.test\n"
                                   "badexp.test TXT v=spf1 -all exp=e.badexp.test\n"
                                   "e.badexp.test TXT 100% wrong\n"
                                   "eightexp.test TXT v=spf1 -all exp=e.eightexp.test\n"
                                   "e.eightexp.test TXT caf\xc3\xa9\n"
                                   "longexp.test TXT v=spf1 -all exp=e.longexp.test\n"
                                   "incexp.test TXT v=spf1 include:exp.test -all exp=own.test\n"
                                   "own.test TXT own\n"
                                   "redirexp.test TXT v=spf1 redirect=exp.test exp=own.test\n"
                                   "redirfail.test TXT v=spf1 redirect=noexp.test exp=own.test\n"
                                   "noexp.test TXT v=spf1 -all\n"
                                   "pexp.test TXT v=spf1 -all exp=%{p}.pexp.test\n"
                                   "host.ptr.test.pexp.test TXT from %{p}\n"
                                   "7.2.0.192.in-addr.arpa PTR host.ptr.test\n"
                                   "host.ptr.test A 192.0.2.7\n";
    struct fakedns *fake = fakedns_new();
    struct run run = {.mem = arena_new(0)};
    char *text = arena_alloc(run.mem, 8192);

    (void)state;
    fakedns_add_text(fake, exp_zone);
    strcpy(text, "e.longexp.test TXT ");
    memset(text + strlen(text), 'x', SPF_TEXT_MAX + 1);
    fakedns_add_text(fake, text);
    for (size_t i = 0; i < COUNT(explanations); i++) {
        struct spf_ask ask = ask_for("192.0.2.7", "h.test", explanations[i].mail_from);

        t_case(explanations[i].name, explanations[i].rfc);
        t_same_z(evaluate(&run, fake, &ask)->explanation, explanations[i].want);
        t_true(run.answer->result == SPF_FAIL || run.answer->result == SPF_SOFTFAIL);
    }
    arena_free(&run.mem);
    fakedns_free(&fake);
}

/* ---- the questions ---- */

static void same_questions(struct fakedns *fake, size_t from, const char *const *want, size_t count)
{
    for (size_t i = 0; i < count; i++)
        t_same_z(fakedns_question(fake, from + i), want[i]);
    t_same_int(fakedns_asked(fake) - from, count);
}

static void test_questions(void **state)
{
    static const char typical[] =
        "org.test TXT v=spf1 mx a:web.org.test include:_a.org.test include:_b.org.test ip4:203.0.113.0/24 "
        "include:_c.org.test"
        " exp=why.org.test -all\n"
        "org.test MX 10 mx1.org.test\norg.test MX 20 mx2.org.test\norg.test MX 30 mx1.org.test\n"
        "mx1.org.test A 198.51.100.1\nmx2.org.test A 198.51.100.2\nweb.org.test A 198.51.100.3\n"
        "_a.org.test TXT v=spf1 ip4:198.51.100.32/28 ~all\n"
        "_b.org.test TXT v=spf1 include:_b2.org.test ~all\n"
        "_b2.org.test TXT v=spf1 ip4:192.0.2.0/24 ~all\n"
        "pp.test TXT v=spf1 ptr exists:%{p}.none.test ptr:host.test -all\n"
        "7.2.0.192.in-addr.arpa PTR one.test\n7.2.0.192.in-addr.arpa PTR "
        "two.host.test\n7.2.0.192.in-addr.arpa PTR one.test\n"
        "one.test A 192.0.2.7\ntwo.host.test A 192.0.2.7\n";
    static const char *const pass[] = {"TXT org.test",    "MX org.test",     "A mx1.org.test",
                                       "A mx2.org.test",  "A web.org.test",  "TXT _a.org.test",
                                       "TXT _b.org.test", "TXT _b2.org.test"};
    static const char *const first[] = {"TXT org.test", "MX org.test", "A mx1.org.test"};
    static const char *const ptr[] = {"TXT pp.test", "PTR 7.2.0.192.in-addr.arpa", "A one.test",
                                      "A one.test.none.test", "A two.host.test"};
    struct fakedns *fake = fakedns_new();
    struct run run = {.mem = arena_new(0)};
    struct spf_ask ask = ask_for("192.0.2.7", "h.test", "u@org.test");
    size_t from = 0;

    (void)state;
    fakedns_add_text(fake, typical);
    t_case("terms are asked for in their order, each name once, nothing behind the match", "7208 4.6.2");
    t_same_int(evaluate(&run, fake, &ask)->result, SPF_PASS);
    same_questions(fake, from, pass, COUNT(pass));
    t_same_int(run.answer->lookups, 5);

    t_case("the first MX that matches ends it", "7208 5.4");
    from = fakedns_asked(fake);
    ask = ask_for("198.51.100.1", "h.test", "u@org.test");
    t_same_int(evaluate(&run, fake, &ask)->result, SPF_PASS);
    same_questions(fake, from, first, COUNT(first));

    t_case("PTR is asked once, and only names that would do are validated", "7208 5.5");
    from = fakedns_asked(fake);
    ask = ask_for("192.0.2.7", "h.test", "u@pp.test");
    t_same_int(evaluate(&run, fake, &ask)->result, SPF_PASS);
    same_questions(fake, from, ptr, COUNT(ptr));
    arena_free(&run.mem);
    fakedns_free(&fake);
}

/* The dearest record that RFC 7208 4.6.4 allows: ten mx of ten hosts each. */
static void test_most_questions(void **state)
{
    struct run run = {.mem = arena_new(0)};
    struct fakedns *fake = fakedns_new();
    struct spf_ask ask = ask_for("192.0.2.7", "h.test", "u@dear.test");

    (void)state;
    fakedns_add_text(fake,
                     "dear.test TXT v=spf1 mx:m0.test mx:m1.test mx:m2.test mx:m3.test mx:m4.test mx:m5.test "
                     "mx:m6.test mx:m7.test mx:m8.test mx:m9.test -all\n");
    for (int i = 0; i < 10; i++)
        for (int host = 0; host < 10; host++)
            fakedns_add_text(fake,
                             str_fmt(run.mem, "m%d.test MX %d h%d.m%d.test\nh%d.m%d.test A 203.0.113.1\n", i,
                                     host, host, i, host, i));
    t_case("its limits are a limit of questions as well", "7208 4.6.4");
    t_same_int(evaluate(&run, fake, &ask)->result, SPF_FAIL);
    t_same_int(fakedns_asked(fake), 1 + 10 * (1 + 10));
    arena_free(&run.mem);
    fakedns_free(&fake);
}

/* ---- the trace ---- */

/* A step a line: the counts, the depth, the term, the outcome; then what it asked. */
static const char *trace_text(struct arena *mem, const struct spf_trace *trace)
{
    const char *text = "";

    for (const struct spf_step *step = trace->steps; step != NULL; step = step->next) {
        text = str_fmt(mem, "%s%u %u %*s%s %s: %s\n", text, step->lookups, step->void_lookups,
                       (int)step->depth, "", step->domain, step->term != NULL ? step->term : "record",
                       spf_step_outcome_name(step->outcome));
        for (const struct spf_lookup *asked = step->asked; asked != NULL; asked = asked->next) {
            text = str_fmt(mem, "%s  %s %s %s", text, dns_type_name(asked->type), asked->name,
                           dns_status_name(asked->status));
            for (size_t i = 0; i < asked->count; i++)
                text = str_fmt(mem, "%s [%s]", text, asked->answers[i]);
            text = str_fmt(mem, "%s\n", text);
        }
    }
    return text;
}

static const char trace_zone[] =
    "t.test TXT v=spf1 ip4:192.0.2.0/30 moo=x include:i.test mx a:absent.test redirect=r.test\n"
    "i.test TXT v=spf1 include:ii.test -all\nii.test TXT v=spf1 ptr ?all\n"
    "t.test MX 10 mx.t.test\nmx.t.test A 203.0.113.1\n"
    "r.test TXT v=spf1 exists:%{ir}.r.test -all exp=%{d}.e.test\nr.test.e.test TXT no\n"
    "half.test TXT v=spf1 include:half2.test -all\nhalf2.test TXT v=spf1 a:dead.test -all\n"
    "dead.test RCODE timeout\nbad.test TXT v=spf1 all:\nto.test TXT v=spf1 include:bad.test\n"
    "lost.test TXT v=spf1 -all exp=absent.test\n";

static const struct {
    const char *name, *mail_from, *want;
} traces[] = {
    {"every record and term, in its turn, with its questions and the counts when it ended", "u@t.test",
     "0 0 t.test record: found\n"
     "  TXT t.test ok [v=spf1 ip4:192.0.2.0/30 moo=x include:i.test mx a:absent.test redirect=r.test]\n"
     "0 0 t.test ip4:192.0.2.0/30: no match\n"
     "0 0 t.test moo=x: ignored\n"
     "3 1 t.test include:i.test: no match\n"
     "1 0  i.test record: found\n  TXT i.test ok [v=spf1 include:ii.test -all]\n"
     "3 1  i.test include:ii.test: no match\n"
     "2 0   ii.test record: found\n  TXT ii.test ok [v=spf1 ptr ?all]\n"
     "3 1   ii.test ptr: no match\n  PTR 7.2.0.192.in-addr.arpa nxdomain\n"
     "3 1   ii.test ?all: match\n"
     "3 1  i.test -all: match\n"
     "4 1 t.test mx: no match\n  MX t.test ok [10 mx.t.test]\n  A mx.t.test ok [203.0.113.1]\n"
     "5 2 t.test a:absent.test: no match\n  A absent.test nxdomain\n"
     "6 2 t.test redirect=r.test: followed\n"
     "6 2 r.test record: found\n  TXT r.test ok [v=spf1 exists:%{ir}.r.test -all exp=%{d}.e.test]\n"
     "7 3 r.test exists:%{ir}.r.test: error\n  A 7.2.0.192.r.test nxdomain\n"},
    {"an error closes all that was open", "u@half.test",
     "0 0 half.test record: found\n  TXT half.test ok [v=spf1 include:half2.test -all]\n"
     "2 0 half.test include:half2.test: error\n"
     "1 0  half2.test record: found\n  TXT half2.test ok [v=spf1 a:dead.test -all]\n"
     "2 0  half2.test a:dead.test: error\n  A dead.test timeout\n"},
    {"a broken record is an error", "u@to.test",
     "0 0 to.test record: found\n  TXT to.test ok [v=spf1 include:bad.test]\n"
     "1 0 to.test include:bad.test: error\n"
     "1 0  bad.test record: error\n  TXT bad.test ok [v=spf1 all:]\n"},
    {"the explanation", "u@r.test",
     "0 0 r.test record: found\n  TXT r.test ok [v=spf1 exists:%{ir}.r.test -all exp=%{d}.e.test]\n"
     "1 1 r.test exists:%{ir}.r.test: no match\n  A 7.2.0.192.r.test nxdomain\n"
     "1 1 r.test -all: match\n"
     "1 1 r.test exp=%{d}.e.test: found\n  TXT r.test.e.test ok [no]\n"},
    {"an explanation that is not there", "u@lost.test",
     "0 0 lost.test record: found\n  TXT lost.test ok [v=spf1 -all exp=absent.test]\n"
     "0 0 lost.test -all: match\n"
     "0 0 lost.test exp=absent.test: none\n  TXT absent.test nxdomain\n"},
    {"no record", "u@absent.test", "0 0 absent.test record: none\n  TXT absent.test nxdomain\n"},
    {"no domain", "u@localhost", ""},
};

static void test_trace(void **state)
{
    struct fakedns *fake = fakedns_new();
    struct run run = {.mem = arena_new(0)};
    struct spf_ask ask;

    (void)state;
    fakedns_add_text(fake, trace_zone);
    for (size_t i = 0; i < COUNT(traces); i++) {
        ask = ask_for("192.0.2.7", "h.test", traces[i].mail_from);
        t_case("without being asked for there is none", "7208 4");
        t_true(evaluate(&run, fake, &ask)->trace == NULL);
        t_case(traces[i].name, "7208 4");
        ask.trace = true;
        t_same_z(trace_text(run.mem, evaluate(&run, fake, &ask)->trace), traces[i].want);
    }
    arena_free(&run.mem);
    fakedns_free(&fake);
}

/* What had not come when time was up, and how much is told at the most. */
static void test_trace_bounds(void **state)
{
    struct fakedns *fake = fakedns_new();
    struct run run = {.mem = arena_new(0)};
    struct spf_ask ask = ask_for("192.0.2.7", "h.test", "u@half.test");
    char *line = arena_alloc(run.mem, SPF_RECORD_MAX);
    const struct spf_answer *answer;
    size_t steps = 0, n;

    (void)state;
    fakedns_add_text(fake, trace_zone);
    ask.trace = true;
    start(&run, fake, &ask);
    fakedns_run_one(fake);
    t_case("a step without its answer is unfinished", "7208 4.6.4");
    t_same_z(trace_text(run.mem, spf_finish(&run.query)->trace),
             "0 0 half.test record: found\n  TXT half.test ok [v=spf1 include:half2.test -all]\n"
             "1 0 half.test include:half2.test: unfinished\n"
             "1 0  half2.test record: unfinished\n");

    t_case("no more than SPF_STEPS_MAX steps, and the number of the others", "7208 4");
    n = (size_t)snprintf(line, 64, "many.test TXT v=spf1");
    for (int i = 0; i < SPF_STEPS_MAX; i++)
        n += (size_t)snprintf(line + n, 64, " ip4:10.0.0.0/8");
    snprintf(line + n, 64, " -all");
    fakedns_add_text(fake, line);
    ask.mail_from = "u@many.test";
    answer = evaluate(&run, fake, &ask);
    for (const struct spf_step *step = answer->trace->steps; step != NULL; step = step->next)
        steps++;
    t_same_int(steps, SPF_STEPS_MAX);
    t_same_int(answer->trace->left_out, 2);
    t_same_int(answer->result, SPF_FAIL);
    arena_free(&run.mem);
    fakedns_free(&fake);
}

/* ---- called off ---- */

/* After k answers, for every k until the evaluation ends by itself. */
static void cancel_everywhere(struct fakedns *fake, const struct spf_ask *ask)
{
    for (size_t k = 0;; k++) {
        struct run run = {.mem = arena_new(0)};

        start(&run, fake, ask);
        for (size_t i = 0; i < k && run.calls == 0; i++)
            t_true(fakedns_run_one(fake));
        if (run.calls > 0) {
            t_same_int(fakedns_waiting(fake), 0);
            arena_free(&run.mem);
            return;
        }
        t_same_int(fakedns_waiting(fake), 1);
        spf_cancel(&run.query);
        t_true(run.query == NULL);
        t_same_int(fakedns_waiting(fake), 0);
        arena_free(&run.mem); /* sanitizers see who comes back */
        t_true(!fakedns_run(fake));
        t_same_int(run.calls, 0);
    }
}

static void test_cancel(void **state)
{
    static const char more[] =
        "everything.test TXT v=spf1 a mx ptr:other.test exists:%{p}.x.test include:inc.test"
        " exp=%{p}.e.test -all\n"
        "everything.test A 203.0.113.1\neverything.test MX 1 h1.test\n"
        "host.ptr.test.e.test TXT %{p} is %{d}\n"
        "host.ptr.test.x.test RCODE nxdomain\n";
    struct fakedns *fake = fakedns_new();
    struct run run = {.mem = arena_new(0)};
    struct spf_ask ask;
    struct spf_query *none = NULL;

    (void)state;
    fakedns_add_text(fake, zone);
    fakedns_add_text(fake, more);
    for (size_t i = 0; i < COUNT(rows); i++) {
        t_case("cancelled, never calls back", rows[i].rfc);
        ask = ask_for(rows[i].client, rows[i].helo, rows[i].mail_from);
        cancel_everywhere(fake, &ask);
    }
    t_case("cancelled anywhere in a long evaluation, never calls back", "7208 4.1");
    ask = ask_for("192.0.2.7", "h.test", "u@everything.test");
    cancel_everywhere(fake, &ask);
    spf_cancel(&none);

    fakedns_free(&fake);
    arena_free(&run.mem);
}

static void test_finish(void **state)
{
    static const char slow[] =
        "slow.test TXT v=spf1 a -all exp=e.slow.test\nslow.test A 192.0.2.1\ne.slow.test TXT late\n";
    struct fakedns *fake = fakedns_new();
    struct run run = {.mem = arena_new(0)};
    struct spf_ask ask = ask_for("192.0.2.7", "h.test", "u@slow.test");
    const struct spf_answer *answer;

    (void)state;
    fakedns_add_text(fake, slow);
    for (size_t k = 0; k < 3; k++) {
        start(&run, fake, &ask);
        for (size_t i = 0; i < k; i++)
            t_true(fakedns_run_one(fake));
        answer = spf_finish(&run.query);
        t_true(run.query == NULL && !fakedns_run(fake) && run.calls == 0);
        t_case("out of time is temperror", "7208 4.6.4");
        if (k == 2)
            t_case("but an explanation is not waited for", "7208 6.2");
        t_same_int(answer->result, k == 2 ? SPF_FAIL : SPF_TEMPERROR);
        t_same_z(answer->domain, "slow.test");
        t_same_z(answer->explanation, "");
        t_true(*answer->reason != '\0');
    }
    t_case("what is no domain is none, in time or not", "7208 4.3");
    ask.mail_from = "u@localhost";
    start(&run, fake, &ask);
    t_same_int(spf_finish(&run.query)->result, SPF_NONE);
    fakedns_free(&fake);
    arena_free(&run.mem);
}

/* ---- sizes ---- */

static void test_large(void **state)
{
    struct fakedns *fake = fakedns_new();
    struct run run = {.mem = arena_new(0)};
    struct spf_ask ask = ask_for("192.0.2.7", "h.test", "u@large.test");
    char *line = arena_alloc(run.mem, 4 * SPF_RECORD_MAX);
    size_t n;

    (void)state;
    t_case("a record of the greatest size is read", "7208 3.4");
    n = (size_t)snprintf(line, 64, "large.test TXT v=spf1");
    while (n < SPF_RECORD_MAX - 32)
        n += (size_t)snprintf(line + n, 64, " ip4:10.0.0.0/8");
    snprintf(line + n, 64, " -all");
    fakedns_add_text(fake, line);
    t_same_int(evaluate(&run, fake, &ask)->result, SPF_FAIL);

    t_case("a larger one is permerror", "7208 3.4");
    n = (size_t)snprintf(line, 64, "larger.test TXT v=spf1");
    while (n < SPF_RECORD_MAX + 32)
        n += (size_t)snprintf(line + n, 64, " ip4:10.0.0.0/8");
    fakedns_add_text(fake, line);
    ask.mail_from = "u@larger.test";
    t_same_int(evaluate(&run, fake, &ask)->result, SPF_PERMERROR);

    t_case("a domain of any length is an answer", "7208 4.3");
    memset(line, 'a', 2000);
    memcpy(line + 1000, "@", 1);
    memcpy(line + 1500, ".", 1);
    line[2000] = '\0';
    ask.mail_from = line;
    t_same_int(evaluate(&run, fake, &ask)->result, SPF_NONE);
    arena_free(&run.mem);
    fakedns_free(&fake);
}

/* ---- the openspf suite ---- */

/* Where a suite and RFC 7208 differ, the RFC decides. */
static const struct {
    const char *id;
    enum spf_result want;
    const char *why;
} disputed[] = {
    {"default-modifier", SPF_NEUTRAL,
     "RFC 7208 6: unknown modifiers are ignored; pyspf takes the default= of old drafts"},
    {"default-modifier-harsh", SPF_NEUTRAL, "the same; \"ambiguous\" is no result of RFC 7208 2.6"},
};

struct tally {
    size_t passed, failed, disputed;
};

static const char *text_of(json_t *test, const char *key)
{
    const char *text = json_string_value(json_object_get(test, key));

    return text != NULL ? text : "";
}

static bool is_wanted(json_t *want, const char *got)
{
    json_t *one;
    size_t i;

    json_array_foreach(want, i, one) if (strcmp(json_string_value(one), got) == 0) return true;
    return false;
}

static bool is_disputed(const char *id, enum spf_result got)
{
    for (size_t i = 0; i < COUNT(disputed); i++)
        if (strcmp(id, disputed[i].id) == 0 && got == disputed[i].want) {
            print_message("disputed %s: %s\n", id, disputed[i].why);
            return true;
        }
    return false;
}

static void run_case(struct run *run, struct fakedns *fake, json_t *test, struct tally *tally)
{
    struct spf_ask ask = ask_for(text_of(test, "host"), text_of(test, "helo"), text_of(test, "mailfrom"));
    const char *id = text_of(test, "id"), *explanation = text_of(test, "explanation");
    const struct spf_answer *answer;

    t_case(id, text_of(test, "spec"));
    answer = evaluate(run, fake, &ask);
    if (strcmp(explanation, "DEFAULT") == 0)
        explanation = ""; /* ours: none */
    if (!is_wanted(json_object_get(test, "result"), spf_result_name(answer->result))) {
        bool known = is_disputed(id, answer->result);

        tally->disputed += known;
        tally->failed += !known;
        if (!known)
            print_error("%s: %s, %s\n", id, spf_result_name(answer->result), answer->reason);
    } else if (json_object_get(test, "explanation") != NULL &&
               strcmp(answer->explanation, explanation) != 0) {
        print_error("%s: explanation \"%s\", not \"%s\"\n", id, answer->explanation, explanation);
        tally->failed++;
    } else {
        tally->passed++;
    }
}

static struct tally run_suite(const char *file)
{
    struct run run = {.mem = arena_new(0)};
    json_t *suite, *scenario, *test;
    struct tally tally = {0};
    size_t i, j;

    suite =
        json_load_file(str_fmt(run.mem, "%s/spf-openspf/%s", t_conformance(), file), JSON_ALLOW_NUL, NULL);
    if (suite == NULL)
        t_fail("cannot read %s", file);
    json_array_foreach(json_is_array(suite) ? suite : json_object_get(suite, "scenarios"), i, scenario)
    {
        struct fakedns *fake = fakedns_new();

        fakedns_add_json(fake, json_object_get(scenario, "dns"));
        json_array_foreach(json_object_get(scenario, "tests"), j, test) run_case(&run, fake, test, &tally);
        fakedns_free(&fake);
    }
    json_decref(suite);
    arena_free(&run.mem);
    print_message("%s: %zu passed, %zu failed, %zu disputed\n", file, tally.passed, tally.failed,
                  tally.disputed);
    return tally;
}

static void test_suite(void **state)
{
    struct tally tally;

    (void)state;
    if (t_conformance() == NULL)
        t_skip("the openspf suite is not here");
    tally = run_suite("cases.json");
    t_case("the openspf suite for RFC 7208", "7208");
    t_same_int(tally.failed, 0);
    t_same_int(tally.passed, 203);
}

static void test_suite_rfc4408(void **state)
{
    struct tally tally;

    (void)state;
    if (t_conformance() == NULL)
        t_skip("the openspf suite is not here");
    tally = run_suite("cases-rfc4408.json");
    t_case("the openspf suite for RFC 4408", "7208");
    t_same_int(tally.failed, 0);
    t_same_int(tally.passed, 191);
}

static void test_suite_pyspf(void **state)
{
    struct tally tally;

    (void)state;
    if (t_conformance() == NULL)
        t_skip("the openspf suite is not here");
    tally = run_suite("cases-pyspf.json");
    t_case("the regression suite of pyspf", "7208");
    t_same_int(tally.failed, 0);
    t_same_int(tally.passed, 14);
    t_same_int(tally.disputed, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),           cmocka_unit_test(test_answer),
        cmocka_unit_test(test_explanations),   cmocka_unit_test(test_questions),
        cmocka_unit_test(test_most_questions), cmocka_unit_test(test_trace),
        cmocka_unit_test(test_trace_bounds),   cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_finish),         cmocka_unit_test(test_large),
        cmocka_unit_test(test_suite),          cmocka_unit_test(test_suite_pyspf),
        cmocka_unit_test(test_suite_rfc4408),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
