#!/usr/bin/perl
# Evaluates SPF cases by Mail::SPF, in the form of spf_batch.c: a JSON object a line in, {"id", "result"} out.
# Arguments are names of repairs: places where Mail::SPF follows RFC 4408 or its own mind, put right, so that
# spf_differential.py can tell which of them a disagreement comes from.
use strict;
use warnings;
use JSON::PP;
use Mail::SPF;

my %repair = map { $_ => 1 } @ARGV;

# ---- a resolver of maps; what it gives is as much of Net::DNS as Mail::SPF looks at ----
package Zone {
    sub new { my ($class, $dns) = @_; return bless {zone => {map { lc($_) => $dns->{$_} } keys %$dns}, error => ''}, $class }
    sub errorstring { $_[0]{error} }

    sub send {
        my ($self, $name, $type) = @_;
        $self->{error} = '';
        for (0 .. 8) {
            my $labels = [split(/\./, $name, -1)];
            return Packet->new('NXDOMAIN') if length($name) > 253 || grep { !length || length > 63 } @$labels;
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
    sub rcode  { $_[0]{rcode} }
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
        if ($repair{voids} && $root && !$packet->answer && ($root->state('dns_interactive_terms_count') // 0) > 0
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

# RFC 7208 4.6.4: more than ten MX are an error, not ten.
if ($repair{mx}) {
    require Mail::SPF::Mech::MX;
    no warnings 'redefine';
    my $original = \&Mail::SPF::Mech::MX::match;
    *Mail::SPF::Mech::MX::match = sub {
        my ($self, $server, $request) = @_;
        my @mx = eval { $server->Mail::SPF::Server::dns_lookup($self->domain($server, $request), 'MX')->answer };
        throw Mail::SPF::EProcessingLimitExceeded("mx") if @mx > 10;
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
    my $result = eval {
        my $server = Repaired->new(dns_resolver => Zone->new($test->{dns}), hostname => 'mx.receiver.test',
            query_rr_types => Mail::SPF::Server->query_rr_type_txt, max_void_dns_lookups => 2);
        my $sender = $test->{from};
        my $request = Mail::SPF::Request->new(
            versions => [1], ip_address => $test->{ip}, helo_identity => $test->{helo},
            scope => length $sender ? 'mfrom' : 'helo', identity => length $sender ? $sender : $test->{helo});
        $server->{root} = $request;
        $server->process($request)->code;
    };
    if (!defined $result) {
        my $why = ref $@ ? ref $@ : $@;
        $why =~ s/\s+/ /g;
        $result = "died: $why";
    }
    print $json->encode({id => $test->{id}, result => $result}), "\n";
}
