# Who may send: addresses, networks, a proxy in front.

use strict;
use warnings;

use IO::Socket::IP;
use Test::More;
use VocTest::Client qw(query sample);
use VocTest::Nginx;

my $ip6 = IO::Socket::IP->new(LocalHost => '::1', Listen => 1);

my $nginx = VocTest::Nginx->new(http => <<"END")->start;
    voc_webhook_https off;
    voc_webhook_allow 192.0.2.1;
    voc_webhook_queue calls { journal off; redis 127.0.0.1:1; }
    server {
        listen 127.0.0.1:%%PORT%%;
        @{[ $ip6 ? 'listen [::1]:%%PORT%%; listen [::]:%%PORT_DUAL%% ipv6only=off;' : '' ]}
        listen unix:%%DIR%%/nginx.sock;
        location = /inherited { voc_webhook calls; }
        location = /one     { voc_webhook calls; voc_webhook_allow 127.0.0.1; }
        location = /network { voc_webhook calls; voc_webhook_allow 127.0.0.0/30; }
        location = /several { voc_webhook calls; voc_webhook_allow 10.0.0.0/8 127.0.0.2;
                              voc_webhook_allow ::1 127.0.0.3; }
        location = /six     { voc_webhook calls; voc_webhook_allow ::1; }
        location = /sixes   { voc_webhook calls; voc_webhook_allow ::/64; }
        location = /all     { voc_webhook calls; voc_webhook_allow all; }
        location = /all2    { voc_webhook calls; voc_webhook_allow 10.0.0.1 all 10.0.0.2; }
        location = /any     { voc_webhook calls; voc_webhook_allow 0.0.0.0/0; }
        location = /real    { voc_webhook calls; voc_webhook_allow 103.135.87.3;
                              set_real_ip_from 127.0.0.1; real_ip_header X-Forwarded-For; }
        location = /recursive { voc_webhook calls; voc_webhook_allow 103.135.87.3;
                              set_real_ip_from 127.0.0.1; set_real_ip_from 10.0.0.0/8;
                              real_ip_header X-Forwarded-For; real_ip_recursive on; }
        location = /forged  { voc_webhook calls; voc_webhook_allow 103.135.87.3; }
        location = /denied  { voc_webhook calls; voc_webhook_allow all; deny all; }
    }
    server {
        listen 127.0.0.1:%%PORT_DEFAULT%%;
        location = /voc { voc_webhook calls; voc_webhook_allow 127.0.0.1; }
    }
END

my $query = query(sample('callRecordingAvailable'));

sub from {
    my ($address, $path, @headers) = @_;
    my %where = $address eq '::1' ? (ip6 => 1)
        : $address eq 'unix' ? (unix => $nginx->dir . '/nginx.sock')
        :                      (local => $address);

    my $answer = VocTest::Client->new(port => $nginx->port, %where)
        ->post("$path?$query", headers => [@headers]);
    return $answer->{status} == 200 ? 'accepted'
        : eval { $answer->json->{reason} } // $answer->{status};
}

my @cases = (
    ['127.0.0.1', '/inherited', 'address_denied'],
    ['127.0.0.1', '/one',       'accepted'],
    ['127.0.0.2', '/one',       'address_denied'],
    ['127.0.0.1', '/network',   'accepted'],
    ['127.0.0.3', '/network',   'accepted'],
    ['127.0.0.4', '/network',   'address_denied'],
    ['127.0.0.1', '/several',   'address_denied'],
    ['127.0.0.2', '/several',   'accepted'],
    ['127.0.0.3', '/several',   'accepted'],
    ['127.0.0.1', '/six',       'address_denied'],
    ['127.0.0.1', '/all',       'accepted'],
    ['127.0.0.1', '/all2',      'accepted'],
    ['127.0.0.1', '/any',       'accepted'],
    ['unix',      '/any',       'address_denied'],
    ['unix',      '/all',       'accepted'],
    ['127.0.0.1', '/denied',    403],
    ['127.0.0.1', '/real', 'accepted', 'X-Forwarded-For' => '103.135.87.3'],
    ['127.0.0.1', '/real', 'address_denied', 'X-Forwarded-For' => '103.135.87.4'],
    ['127.0.0.1', '/real', 'address_denied'],
    ['127.0.0.2', '/real', 'address_denied', 'X-Forwarded-For' => '103.135.87.3'],
    ['127.0.0.1', '/real', 'address_denied', 'X-Forwarded-For' => '103.135.87.3, 127.0.0.9'],
    ['127.0.0.1', '/recursive', 'accepted', 'X-Forwarded-For' => '1.2.3.4, 103.135.87.3, 10.1.1.1'],
    ['127.0.0.1', '/recursive', 'address_denied', 'X-Forwarded-For' => '103.135.87.3, 1.2.3.4, 10.1.1.1'],
    ['127.0.0.1', '/forged', 'address_denied', 'X-Forwarded-For' => '103.135.87.3',
        'X-Real-IP' => '103.135.87.3', 'Forwarded' => 'for=103.135.87.3'],
);
push @cases,
    ['::1', '/six',       'accepted'],
    ['::1', '/sixes',     'accepted'],
    ['::1', '/several',   'accepted'],
    ['::1', '/one',       'address_denied'],
    ['::1', '/any',       'address_denied'],
    ['::1', '/inherited', 'address_denied'],
    if $ip6;

for my $case (@cases) {
    my ($address, $path, $expected, @headers) = @$case;
    is from($address, $path, @headers), $expected,
        join ' ', "$address $path", @headers;
}

SKIP: {
    skip 'no IPv6 here', 1 if !$ip6;
    is(VocTest::Client->new(port => $nginx->port('DUAL'))
            ->post("/one?$query")->{status}, 200,
        'an IPv4 address on an IPv6 socket');
}

$nginx->expect_log(qr/they are lost: the journal is off/);

done_testing;
