#!/usr/bin/perl
# Evaluates SPF cases by Mail::SPF, in the form of spf_batch.c: a JSON object a line in, {"id", "result"} out.
# Arguments are names of repairs: places where Mail::SPF follows RFC 4408 or its own mind, put right, so that
# spf_differential.py can tell which of them a disagreement comes from. `--list` prints them as JSON.
use strict;
use warnings;
use JSON::PP;

# name => [section of RFC 7208, what is put right, file => [from => to, ...]]
my @repairs = (
    voids => ['4.6.4', 'terms without an answer are counted, not questions'],
    ptr => ['5.5', 'an error of the PTR lookup is no name'],
    redirect => ['6.1', 'a redirect counts when it is followed'],
    mx => ['4.6.4', 'more than ten MX hosts are an error',
        'Mech/MX.pm' => ['# Respect the MX' => "throw Mail::SPF::EProcessingLimitExceeded('mx') if \@mx_rrs > 10;\n    # Respect the MX"]],
    'p counts' => ['4.6.4', '%{p} counts when it is what asks for the names',
        'MacroString.pm' => ["try {\n                        \$value = Mail::SPF::Util->valid" =>
            "unless (\$server->{explaining} || \$server->{pointers}) { my \$void = \$request->root_request->state('term_is_void'); " .
            "\$server->count_dns_interactive_term(\$request); \$request->root_request->state('term_is_void', \$void) }\n" .
            "                    local \$server->{remembered} = \$server->{pointers};\n" .
            "                    try {\n                        \$value = Mail::SPF::Util->valid"]],
    'p asks' => ['7.3', 'for %{p} only names are validated that would be better',
        'Util.pm' => ['next if not $accept_any_domain' =>
            'next if defined($best_match_type) and $match_type <= $best_match_type; next if not $accept_any_domain']],
    sender => ['4.3', 'a sender without a local part is postmaster, and a final dot is none'],
    'capital R' => ['7.1', 'the transformer is the same in capitals',
        'Term.pm' => ['\d*r?/' => '\d*[rR]?/'], 'MacroString.pm' => ['(r)?' => '([rR])?']],
    'capital letters' => ['7.3', 'capital macro letters escape',
        'Term.pm' => ['s/^(.*?)\.?$/\L$1/' => 's/^(.*?)\.?$/$1/']],
    delimiters => ['7.3', 'delimiters split without a number as well, and empty parts are parts',
        'MacroString.pm' => ['(defined($rh_parts) or defined($reverse))' => '(defined($rh_parts) or defined($reverse) or length($delimiters // ""))',
            'split(/[\Q$delimiters\E]/, $value)' => 'split(/[\Q$delimiters\E]/, $value, -1)']],
    'macro grammar' => ['4.6', 'an error in a macro is an error wherever it stands',
        'Term.pm' => ['{ \p{IsAlpha} ${\macro' => '{ [slodipvhSLODIPVH] (?!0+[^0-9]) ${\macro']],
    'colon alone' => ['12', 'a colon is followed by a domain',
        'Mech.pm' => ['(?: : (?=.) )?' => '(?: : (?=[^\\/]) )?']],
    octets => ['4.6', 'letters are those of ASCII',
        'Term.pm' => ['\p{IsAlnum}' => '\p{PosixAlnum}', '\p{IsAlpha}' => '\p{PosixAlpha}']],
    'ip6 for IPv4' => ['5', 'an IPv4 client is in no IPv6 network',
        'Mech/IP6.pm' => ['return $self->ip_network' => 'return FALSE if $request->ip_address->version == 4; return $self->ip_network']],
    'long labels' => ['7.3', 'a label too long is no name, and is not cut',
        'Server.pm' => ['$domain =~ s/([^.]{63})[^.]+/$1/g;' => '']],
);
my %repairs = @repairs;
if (@ARGV && $ARGV[0] eq '--list') {
    print JSON::PP->new->canonical->encode([map { [$repairs[2 * $_], @{$repairs[2 * $_ + 1]}[0, 1]] } 0 .. $#repairs / 2]), "\n";
    exit;
}
my %repair = map { $_ => 1 } @ARGV;

# Sources that are to be repaired are read, changed and compiled in place of the installed ones.
my %changes;
for my $name (@ARGV) {
    my (undef, undef, %files) = @{$repairs{$name} or die "no repair $name\n"};
    push @{$changes{$_}}, @{$files{$_}} for keys %files;
}
unshift @INC, sub {
    my (undef, $file) = @_;
    my ($own) = $file =~ m{^Mail/SPF/(.+)$} or return;
    my $list = $changes{$own} or return;
    my ($path) = grep { -f } map { "$_/$file" } grep { !ref } @INC;
    open my $in, '<', $path or die "$path: $!";
    my $source = do { local $/; <$in> };
    for (my $i = 0; $i < @$list; $i += 2) {
        my ($from, $to) = @$list[$i, $i + 1];
        die "this Mail::SPF is another one: $own has no $from\n" unless index($source, $from) >= 0;
        $source =~ s/\Q$from\E/$to/g;
    }
    open my $out, '<', \$source;
    return $out;
};
require Mail::SPF;

# ---- a resolver of maps; what it gives is as much of Net::DNS as Mail::SPF looks at ----
package Zone {
    sub new { my ($class, $dns) = @_; return bless {zone => {map { lc($_) => $dns->{$_} } keys %$dns}, error => ''}, $class }
    sub errorstring { $_[0]{error} }

    sub send {
        my ($self, $name, $type) = @_;
        $self->{error} = '';
        for (0 .. 8) {
            my $labels = [split(/\./, $name, -1)];
            return Packet->new('UNASKED') if !length($name) || length($name) > 253 || grep { !length || length > 63 } @$labels;
            my $entry = $self->{zone}{lc $name};
            return Packet->new('NXDOMAIN') unless $entry;
            return Packet->new('SERVFAIL') if defined $entry->{_rcode};
            my @values = ref($entry->{$type}) eq 'ARRAY' ? @{$entry->{$type}} : ();
            return Packet->new('NOERROR', map { Record->new($type, $_) } @values) if @values;
            if (!$entry->{CNAME}) {
                return Packet->new('NOERROR') unless $entry->{_timeout};
                $self->{error} = 'query timed out';
                return undef;
            }
            $name = $entry->{CNAME}[0];
        }
        return Packet->new('SERVFAIL');
    }
}

package Packet {
    sub new { my ($class, $rcode, @answer) = @_; return bless {rcode => $rcode, answer => \@answer}, $class }
    sub header { $_[0] }
    sub rcode  { $_[0]{rcode} eq 'UNASKED' ? 'NXDOMAIN' : $_[0]{rcode} }
    sub answer { @{$_[0]{answer}} }
}

package Record {
    sub new           { my ($class, $type, $value) = @_; return bless {type => $type, value => $value}, $class }
    sub type          { $_[0]{type} }
    sub address       { $_[0]{value} }
    sub ptrdname      { $_[0]{value} }
    sub exchange      { $_[0]{value}[1] }
    sub char_str_list { ref $_[0]{value} ? @{$_[0]{value}} : ($_[0]{value}) }
}

# ---- repairs ----
package Repaired {
    our @ISA = ('Mail::SPF::Server');

    # RFC 7208 4.6.4: terms that find nothing are counted, whatever they ask, include and redirect as well.
    sub count_dns_interactive_term {
        my ($self, $request) = @_;
        $request->root_request->state('term_is_void', 0);
        return $self->SUPER::count_dns_interactive_term($request);
    }

    sub count_void_dns_lookup {
        my ($self, $request) = @_;
        $self->SUPER::count_void_dns_lookup($request) unless $repair{voids};
        return;
    }

    sub dns_lookup {
        my ($self, $domain, $type) = @_;
        my $packet = $self->SUPER::dns_lookup($domain, $type);
        my $root = $self->{root};
        $self->{pointers} = 1 if $type eq 'PTR';
        if ($repair{voids} && !$self->{remembered} && $root && !$packet->answer && $packet->{rcode} ne 'UNASKED' && ($root->state('dns_interactive_terms_count') // 0) > 0
            && !$root->state('term_is_void') && !$self->{explaining}) {
            $root->state('term_is_void', 1);
            my $count = ($root->state('voids') // 0) + 1;
            $root->state('voids', $count);
            throw Mail::SPF::EProcessingLimitExceeded("voids") if $count > 2;
        }
        return $packet;
    }
}

package main;

# RFC 7208 5.5: an error of the PTR lookup is no name.
if ($repair{ptr}) {
    require Mail::SPF::Util;
    no warnings 'redefine';
    my $original = \&Mail::SPF::Util::valid_domain_for_ip_address;
    *Mail::SPF::Util::valid_domain_for_ip_address = sub {
        my @args = @_;
        my $name;
        eval { $name = $original->(@args); 1 } or do {
            my $error = $@;
            die $error unless ref $error && $error->isa('Mail::SPF::EDNSError');
        };
        return $name;
    };
}

# RFC 7208 6.1: a redirect counts when it is followed.
if ($repair{redirect}) {
    require Mail::SPF::Mod::Redirect;
    no warnings 'redefine';
    my $original = \&Mail::SPF::Mod::Redirect::process;
    *Mail::SPF::Mod::Redirect::process = sub {
        my ($self, $server, $request, $result) = @_;
        return unless $result->isa('Mail::SPF::Result::NeutralByDefault');
        return $original->(@_);
    };
}

# What is behind the result comes after it.
require Mail::SPF::Mod::Exp;
{
    no warnings 'redefine';
    my $original = \&Mail::SPF::Mod::Exp::process;
    *Mail::SPF::Mod::Exp::process = sub {
        my ($self, $server) = @_;
        local $server->{explaining} = 1;
        return $original->(@_);
    };
}

my $json = JSON::PP->new->latin1->canonical;
my $json_in = JSON::PP->new->utf8;
$| = 1;
while (my $line = <STDIN>) {
    my $test = $json_in->decode($line);
    my $why;
    my $result = eval {
        my $server = Repaired->new(dns_resolver => Zone->new($test->{dns}), hostname => 'mx.receiver.test',
            query_rr_types => Mail::SPF::Server->query_rr_type_txt, max_void_dns_lookups => 2);
        my $sender = $test->{from};
        $sender =~ s/\.$// if $repair{sender};
        $sender = 'postmaster@' . $sender =~ s/^@//r if $repair{sender} && length $sender && $sender !~ /.@/;
        my $request = Mail::SPF::Request->new(
            versions => [1], ip_address => $test->{ip}, helo_identity => $test->{helo},
            scope => length $sender ? 'mfrom' : 'helo', identity => length $sender ? $sender : $test->{helo});
        $server->{root} = $request;
        my $answer = $server->process($request);
        $why = $answer->text // "";
        $answer->code;
    };
    if (!defined $result) {
        $why = ref $@ ? ref $@ : $@;
        $why =~ s/\s+/ /g;
        $result = "died: $why";
    }
    print $json->encode({id => $test->{id}, result => $result, reason => $why}), "\n";
}
