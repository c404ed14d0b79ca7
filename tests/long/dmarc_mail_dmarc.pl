#!/usr/bin/perl
# Mail::DMARC's verdicts, in bulk, for dmarc_differential.py: the protocol of dmarc_batch.c.
use strict;
use warnings;
use JSON::PP;
use Mail::DMARC::PurePerl;
use Net::DNS;

# A resolver made of a map.
package Zone;
sub new { my ($class, $dns) = @_; return bless { dns => $dns }, $class }
sub errorstring { return 'NXDOMAIN' }
sub tcp_timeout { }
sub udp_timeout { }
sub query { return shift->send(@_) }
sub send {
    my ($self, $name, $type) = @_;
    my $found = $self->{dns}{lc $name}{$type} // [];
    my $packet = Net::DNS::Packet->new($name, $type);
    my $data = $type eq 'TXT' ? 'txtdata' : 'address';
    $packet->push(answer => Net::DNS::RR->new(owner => $name, type => $type, $data => $_)) for @$found;
    return $packet;
}

package main;
$| = 1;
while (my $line = <STDIN>) {
    my $test = decode_json($line);
    my $dmarc = Mail::DMARC::PurePerl->new;
    $dmarc->set_resolver(Zone->new($test->{dns}));
    $dmarc->source_ip('192.0.2.1');
    $dmarc->envelope_to('rcpt.org');
    $dmarc->envelope_from($test->{spf}[0]);
    $dmarc->header_from($test->{from});
    $dmarc->dkim([map { { domain => $_->[0], selector => 's', result => $_->[1] } } @{ $test->{dkim} }]);
    $dmarc->spf({ domain => $test->{spf}[0], scope => 'mfrom', result => $test->{spf}[1] });
    my $found = $dmarc->validate;
    my $published = eval { $found->published };
    print encode_json({
        id => $test->{id},
        result => $published ? $found->result : 'none',
        policy => $found->result eq 'pass' ? '' : $found->disposition // 'none',
        spf => ($found->spf // '') eq 'pass' ? JSON::PP::true : JSON::PP::false,
        dkim => ($found->dkim // '') eq 'pass' ? JSON::PP::true : JSON::PP::false,
    }), "\n";
}
