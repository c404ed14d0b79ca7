/*
 * proxy/facts.h - what the checks found out about one session, one transaction and one recipient
 *
 * Facts are values; nothing here decides. decide.h reads them with the settings and gives a verdict, the
 * record writes them down, replay can read them again. Pointers lead into the session's or the transaction's
 * arena; NULL (or a …_NOT_ASKED) means that the check was off, not needed, or not due yet.
 */
#ifndef PROXY_FACTS_H
#define PROXY_FACTS_H

#include "config/config.h"
#include "smtp/command.h"
#include "smtp/data.h"
#include "smtp/header.h"
#include "smtp/mailbox.h"

enum rdns_state { RDNS_NOT_ASKED, RDNS_VERIFIED, RDNS_NONE, RDNS_MISMATCH, RDNS_TEMPERROR };

enum helo_form {
    HELO_NOT_SEEN,
    HELO_NAME,
    HELO_LITERAL,
    HELO_OTHER_LITERAL, /* an address literal, but not the client's own address */
    HELO_BARE_ADDRESS,  /* "192.0.2.1" without brackets */
    HELO_OURS,          /* our own host name or one of our addresses */
    HELO_NOT_A_NAME,
    HELO_SINGLE_LABEL, /* "localhost": legal syntax, but not a name of the public DNS */
};

enum sender_domain { SENDER_NOT_ASKED, SENDER_EXISTS, SENDER_MISSING, SENDER_NULL_MX, SENDER_TEMPERROR };

struct session_facts {
    struct ip client;
    uint16_t client_port;
    bool trusted;       /* from `networks`: no inbound checks, may relay */
    bool outbound;      /* came to a listener for our own clients: no inbound checks */
    bool may_log_in;    /* AUTH is offered to it */
    bool authenticated; /* has logged in at the backend: no inbound checks, may relay */
    bool unknown; /* so the proxy in front says (XCLIENT), whose address stands here then: nobody's friend */
    bool gateway; /* a private address that hides many clients: says nothing about any of them */
    bool early_talker;
    enum rdns_state rdns;
    const char *rdns_name; /* the PTR's name, verified or not; NULL: none */
    enum helo_form helo_form;
    const char *helo; /* NULL before EHLO */
    const struct dnsbl_answer *dnsbl;
    const struct spf_answer *spf_helo;
    bool dns_sick; /* the resolver itself: nothing it says is held against anybody for good */
};

/* Its mail goes anywhere, unchecked. */
static inline bool facts_may_relay(const struct session_facts *session)
{
    return session->trusted || session->authenticated;
}

struct transaction_facts {
    struct smtp_address sender;
    bool null_sender;
    enum sender_domain sender_domain;
    const struct spf_answer *spf;       /* of MAIL FROM; of postmaster@HELO for the null sender */
    const struct dnsbl_answer *domains; /* lists of domains, for the names in HELO, PTR and MAIL FROM */
    bool to_postmaster;                 /* one of the recipients taken so far is */
};

struct recipient_facts {
    struct smtp_address address;
    bool ours;       /* a domain we accept mail for */
    bool unlisted;   /* of a domain of ours, and not in the file of recipients */
    bool postmaster; /* never refused for lists or greylisting */
    const struct grey_answer *grey;
};

struct message_facts {
    enum smtp_data_fault fault;
    bool too_big, header_too_big, starts_folded, bad_line, too_many_fields, spool_failed;
    unsigned received, received_by_us;
    uint64_t bytes;
    const char *from_domain;            /* NULL: not looked for, or the From field names none */
    const struct dnsbl_answer *domains; /* lists of domains, for the name in From */
    const char *from_why;               /* then why it names none; else NULL or "" */
    const char *list;                   /* the name in List-Id, lower case (RFC 2919 3); NULL: none */
    const struct dkim_answer *dkim;
    const struct arc_answer *arc;
    const struct dmarc_discovery *discovery;
    const struct dmarc_evaluation *dmarc;
};

/* Those that are waited for. */
enum fact {
    FACT_RDNS,
    FACT_DNSBL,
    FACT_SPF_HELO,
    FACT_SPF,
    FACT_SENDER,
    FACT_DOMAINS,
    FACT_GREY,
    FACT_DKIM,
    FACT_ARC,
    FACT_DMARC,
    FACT_FROM_DOMAIN,
    FACTS
};

struct facts {
    struct session_facts session;
    struct transaction_facts transaction;
    struct recipient_facts recipient;
    struct message_facts message;
    uint32_t took_ms[FACTS]; /* until it was known; of those that are. No decision looks at it. */
};

const char *rdns_state_name(enum rdns_state state); /* "verified", "none", "mismatch", "temperror" */
const char *helo_form_name(enum helo_form form);
/* hostname is ours, local our end of the connection (family 0: not known). Pure. */
enum helo_form helo_form_of(struct str helo, const struct ip *client, const char *hostname,
                            const struct ip *local);
const char *sender_domain_name(enum sender_domain state);

#endif
