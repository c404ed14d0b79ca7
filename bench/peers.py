"""The programs that an operator might choose instead: Postfix with Rspamd as Debian packages them, and Haraka from
the npm registry. Each does those of the comparison's checks that it can; what it cannot is said at its class."""
import os
import shutil
import subprocess
import sys

from rig import HOSTNAME, RELAY_DOMAIN, RESOLVER, SINK, connects, give, until
from sides import Postfix, Side

POSTFIX_BEFORE_RSPAMD = """
smtpd_helo_required = yes
smtpd_recipient_restrictions = reject_unauth_destination,
    reject_invalid_helo_hostname, reject_non_fqdn_helo_hostname,
    reject_unknown_client_hostname, reject_unknown_sender_domain
smtpd_milters = unix:{here}/rspamd/socket
milter_default_action = tempfail
"""

# Only the modules that the comparison asks for: no Lua rules, no statistics, no words, no URLs. The worker that speaks
# milter scans by itself, so no second process is asked.
RSPAMD_CONF = """
options {{
    pidfile = "{here}/rspamd/pid";
    filters = "dkim";
    local_addrs = [192.0.2.1/32];
    dns {{ nameserver = ["{resolver}"]; timeout = 1s; }}
    control_socket = "{here}/rspamd/control mode=0600";
    cache_file = "{here}/rspamd/symbols.cache";
    hs_cache_dir = "{here}/rspamd";
    url_tld = "$SHAREDIR/effective_tld_names.dat";
}}
logging {{ type = "file"; filename = "{here}/rspamd/log"; level = "info"; }}
worker "rspamd_proxy" {{
    bind_socket = "{here}/rspamd/socket mode=0666";
    milter = yes;
    timeout = 120s;
    count = 2;
    upstream "local" {{ self_scan = yes; }}
}}
actions {{ reject = 15; greylist = 4; }}
modules {{ path = "$PLUGINSDIR"; }}
spf {{ }}
dkim {{ }}
dmarc {{ }}
hfilter {{ helo_enabled = true; hostname_enabled = true; url_enabled = false; from_enabled = true; }}
redis {{ servers = "{here}/rspamd/redis"; }}
greylist {{ timeout = 1s; }}
rbl {{
    default_from = true;
    rbls {{
        bl1 {{ symbol = "BL1"; rbl = "bl1.example"; checks = ["from"]; returncodes {{ BL1 = "127.0.0.2"; }} }}
        bl2 {{ symbol = "BL2"; rbl = "bl2.example"; checks = ["from"]; returncodes {{ BL2 = "127.0.0.2"; }} }}
    }}
}}
group "lists" {{ symbols {{ BL1 {{ weight = 20; }} BL2 {{ weight = 20; }} }} }}
milter_headers {{ use = ["authentication-results"]; skip_local = false; }}
"""


class Rspamd(Postfix):
    """Its greylist asks only for messages that look suspicious, so none of these waits; the lists refuse after DATA."""
    greylists, listed_reply = False, "spam message rejected"

    def start(self):
        folder = give(f"{self.here}/rspamd", "_rspamd")
        self.run("setpriv", "--reuid=_rspamd", "--regid=_rspamd", "--clear-groups", "redis-server", "--port", "0",
                 "--unixsocket", f"{folder}/redis", "--dir", folder, "--save", "", "--appendonly", "no")
        until(lambda: os.path.exists(f"{folder}/redis"), "the socket of redis-server")
        path = self.write("rspamd.conf", RSPAMD_CONF.format(here=self.here, resolver=RESOLVER))
        self.run("rspamd", "-f", "-u", "_rspamd", "-g", "_rspamd", "-c", path)
        until(lambda: os.path.exists(f"{folder}/socket"), "the socket of rspamd", 120)  # it compiles its patterns first
        self.start_postfix(POSTFIX_BEFORE_RSPAMD.format(here=self.here))


HARAKA_CONFIG = {
    "me": "{hostname}\n",
    "host_list": "{domain}\n",
    "plugins": "fcrdns\ndns-list\nhelo.checks\ntls\nmail_from.is_resolvable\nspf\nrcpt_to.in_host_list\ndkim\n"
               "queue/smtp_forward\n",
    "smtp.ini": "listen={address}\nnodes=0\n",
    "log.ini": "[main]\nlevel=notice\n",
    "smtp_forward.ini": "[main]\nhost={sink_ip}\nport={sink_port}\n",
    "dns-list.ini": "[main]\nperiodic_checks=0\nsearch=all\nzones[]=bl1.example\nzones[]=bl2.example\n"
                    "[bl1.example]\n[bl2.example]\n",
}


class Haraka(Side):
    """Without greylist and DMARC, which would need plug-ins and a Redis more; both would only cost it more. It passes
    the message on within the session, as smtpguard does."""
    greylists, passes = False, ("dkim=pass", "spf=pass")

    def start(self):
        ip, port = SINK.split(":")
        shutil.copytree(f"{self.program}/node_modules/haraka/config", f"{self.here}/config")
        for name, text in HARAKA_CONFIG.items():
            self.rig.write(f"{self.here}/config/{name}", text.format(
                hostname=HOSTNAME, domain=RELAY_DOMAIN, address=self.address, sink_ip=ip, sink_port=port))
        for part in ("key", "cert"):
            shutil.copy(f"{self.rig.here}/{part}.pem", f"{self.here}/config/tls_{part}.pem")
        self.run("node", f"{self.program}/node_modules/haraka/bin/haraka", "-c", self.here)


def find_haraka(folder):
    """The folder that `npm install haraka` was run in, which happens here when there is npm; else None."""
    if os.path.exists(f"{folder}/node_modules/haraka/bin/haraka"):
        return folder
    if not shutil.which("npm"):
        print("SKIP: Haraka: there is no npm here", file=sys.stderr)
        return None
    os.makedirs(folder, exist_ok=True)
    done = subprocess.run(["npm", "install", "--no-fund", "--no-audit", "haraka@3"], cwd=folder,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode == 0:
        return folder
    print(f"SKIP: Haraka: npm does not bring it: {done.stderr.strip()[-200:]}", file=sys.stderr)
    return None
