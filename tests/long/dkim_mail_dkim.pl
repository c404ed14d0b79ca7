#!/usr/bin/perl
# Mail::DKIM, in bulk, for dkim_differential.py: the protocol of dkim_batch.c, with field names after the
# canonicalization. dkim_mail_dkim.pl ZONEFILE DOMAIN SELECTOR=KEYFILE …
use strict;
use warnings;
use Mail::DKIM::DNS;
use Mail::DKIM::Signer;
use Mail::DKIM::Verifier;
use Mail::DKIM::PrivateKey;

my ($zone, $domain, @keys) = @ARGV;
my (%txt, %key);
open(my $in, '<', $zone) or die "$zone: $!";
while (<$in>) {
    $txt{lc $1} = $2 if /^(\S+) TXT "(.*)"$/;
}
for (@keys) {
    my ($selector, $file) = split /=/, $_, 2;
    $key{$selector} = Mail::DKIM::PrivateKey->load(File => $file);
}

package Record { sub new { bless { text => $_[1] } } sub txtdata { $_[0]{text} } sub char_str_list { $_[0]{text} } sub type { 'TXT' } }

{
    no warnings 'redefine';
    *Mail::DKIM::DNS::query = sub {
        my ($name) = @_;
        return exists $txt{lc $name} ? (Record->new($txt{lc $name})) : ();
    };
    *Mail::DKIM::DNS::query_async = sub {
        my ($name, $type, %callbacks) = @_;
        my @found = exists $txt{lc $name} ? (Record->new($txt{lc $name})) : ();
        return sub { $callbacks{Callbacks}{Success} ? $callbacks{Callbacks}{Success}->(@found) : @found };
    };
}

sub verify {
    my ($message) = @_;
    my $verifier = Mail::DKIM::Verifier->new;
    $verifier->PRINT($message);
    $verifier->CLOSE;
    my ($signature) = $verifier->signatures;
    return $signature ? $signature->result . ' ' . $signature->result_detail : 'none';
}

sub sign {
    my ($selector, $canon, $names, $message) = @_;
    my $signer = Mail::DKIM::Signer->new(
        Algorithm => 'rsa-sha256', Method => $canon, Domain => $domain, Selector => $selector,
        Key => $key{$selector}, Headers => $names);
    $signer->PRINT($message);
    $signer->CLOSE;
    my $field = $signer->signature->as_string;
    $field =~ s/\r?\n/\r\n/g;
    return "$field\r\n";
}

binmode STDIN;
binmode STDOUT;
$| = 1;
while (my $line = <STDIN>) {
    my @words = split ' ', $line;
    my $length = pop @words;
    read(STDIN, my $message, $length) == $length or die 'the message is cut off';
    my $said = eval { $words[0] eq 'verify' ? verify($message) : sign(@words[1 .. 3], $message) };
    $said = "!$@" unless defined $said;
    print length($said), "\n", $said;
}
