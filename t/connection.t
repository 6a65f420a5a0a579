# The module sends and reads a connection of its own way once an event has come
# over it: whatever else is asked for on it does not notice.

use strict;
use warnings;

use IO::Socket::INET;
use Net::SSLeay;
use Test::More;
use VocTest qw(slow slurp wait_for);
use VocTest::Client qw(query sample);
use VocTest::Nginx;
use VocTest::Records;
use VocTest::Redis;

my $redis = VocTest::Redis->new->start;
# Takes what a mirror sends, and does not answer.
my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 10)
    or die "listen: $@";
my $held  = $listener->sockport;
my $nginx = VocTest::Nginx->new(workers => 1, http => <<"END")->start;
    voc_webhook_queue calls {
        redis   127.0.0.1:@{[ $redis->port ]};
        journal %%DIR%%/journal size=16m;
    }
    server {
        listen 127.0.0.1:%%PORT%% sndbuf=16k;
        listen 127.0.0.1:%%PORT_TLS%% ssl sndbuf=16k;
        %%SSL%%
        ssl_protocols TLSv1.2 TLSv1.3;
        keepalive_requests 100000;
        sendfile on;
        root %%DIR%%;
        location = /voc   { voc_webhook calls; voc_webhook_allow 127.0.0.1;
                            voc_webhook_https off; }
        location /text    { return 200 \$uri; }
        location = /none  { return 204; }
        location = /more  { voc_webhook calls; voc_webhook_allow 127.0.0.1;
                            post_action /none; }
        location = /copy  { voc_webhook calls; voc_webhook_allow 127.0.0.1;
                            mirror /held; }
        location = /held  { internal; proxy_pass http://127.0.0.1:$held; }
        location = /slow  { limit_rate 300; return 200 "@{[ 's' x 200 ]}"; }
    }
END
my $file = join '', map { "line $_\n" } 1 .. 50_000;
open my $out, '>', $nginx->dir . '/file' or die $!;
print {$out} $file;
close $out;
my $n = 0;

sub target { return '/voc?' . query(sample('ivrOption', callid => 'c' . ++$n)) }

sub client {
    my ($tls) = @_;

    return $tls
        ? VocTest::Records->new(port => $nginx->port('TLS'), version => 0x0304)
        : VocTest::Client->new(port => $nginx->port)->connect;
}

sub pushed { return $redis->cli('LLEN', 'voc:events') }

sub other_requests {
    my ($tls) = @_;
    my $client = client($tls);
    my $event  = sub { $client->post(target())->{status} == 200 };
    my $get    = sub { $client->request(GET => @_)->{body} };

    ok $event->(), 'an event';
    is $get->('/file'), $file, 'a file';
    is $get->('/file', headers => [Range => 'bytes=0-99']),
        substr($file, 0, 100), 'a part of it';
    is $client->request(HEAD => '/file')->{headers}{'content-length'},
        length $file, 'its header';
    ok $event->(), 'an event behind them';

    my $wrong = grep {
        my $uri = '/text/' . 'x' x $_;
        $get->($uri) ne $uri;
    } 200 .. 500;
    is $wrong, 0, 'texts of any size';

    # nginx's buffer for the header has 1k, then there is another.
    $wrong = grep {
        my $uri = "/text/$_";
        $get->($uri, headers => ['X-Filler' => 'x' x $_]) ne $uri
            || $_ % 100 == 0 && !$event->();
    } map { $_ * 20 } 10 .. 150;
    is $wrong, 0, 'headers of any size';
    is $client->request(GET => '/none')->{status}, 204, 'nothing';
    is length $get->('/slow'), 200, 'an answer that is held back';
    ok $event->(), 'an event behind it';
    is $client->post('/voc')->{status}, 400, 'what is no event';
    is $client->request('GET', '/voc', version => '1.0')->{status}, 405,
        'the last one';
    return;
}

# Of the worker, but for what is a file's.
sub memory {
    my ($pid) = $nginx->workers;
    return slurp("/proc/$pid/smaps_rollup") =~ /^Anonymous: +(\d+) kB/m && $1;
}

sub many_connections {
    my $connect = sub {
        my $client = client(0);
        my $good = grep { $client->post(target())->{status} == 200 } 1 .. 2;
        $client->close;
        return $good == 2;
    };

    my $bad = grep { !$connect->() } 1 .. 200;
    wait_for { pushed() == $n };
    my $before = memory();
    $bad += grep { !$connect->() } 1 .. 1_500;
    wait_for { pushed() == $n };
    is $bad, 0, 'events over connections of their own';
SKIP: {
        skip 'what is freed is kept to find mistakes', 1
            if $ENV{VOC_VALGRIND} || $ENV{VOC_PRELOAD};
        cmp_ok memory() - $before, '<', 1_000, 'nothing is left of these';
    }
    return;
}

sub slow_reader {
    my ($tls) = @_;
    my $client = client($tls);
    my $before = pushed();
    my $count  = 3_000;
    my $text   = join '',
        map { 'POST ' . target() . " HTTP/1.1\r\nHost: x\r\n\r\n" } 1 .. $count;

    is $client->post(target())->{status}, 200, 'an event';
    my $bytes = $tls ? $client->record($text) : $text;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        $client->{socket}->blocking(1);
        while (length $bytes) {
            substr $bytes, 0, syswrite($client->{socket}, $bytes) // last, '';
        }
        kill 'KILL', $$;
    }

    # Both sockets are full of them.
    ok wait_for { $client->stuck }, 'answers that nobody takes';
    my %ids;
    for (1 .. $count) {
        my $answer = eval { $client->receive } or last;
        $ids{ $answer->json->{id} } = 1 if $answer->{status} == 200;
    }
    is keys %ids, $count, 'all of them, later';
    waitpid $pid, 0;
    ok wait_for { pushed() == $before + $count + 1 }, 'all events';
    return;
}

# close_notify comes with it: one segment.  least: events before it; with TLS
# 1.3 tickets come behind the handshake, so none is too few to count segments.
sub last_answer {
    my ($version, $least) = @_;
    my $end = time + 20 * slow();
    my $client_behind = sub {
        my ($events) = @_;
        my $client = VocTest::Records->new(port => $nginx->port('TLS'),
            version => $version);

        $client->post(target()) for 1 .. $events;
        return $client;
    };

    for my $events (0 .. 3) {
        my $client = $client_behind->($events);
        my $before = $client->segments;
        $client->send('POST ' . target()
                . " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        1 while $client->fill($end);
        like $client->{buffer}, qr{^HTTP/1.1 200 }, "the last behind $events";
        is Net::SSLeay::get_shutdown($client->{ssl}) & 2, 2, 'behind it close_notify';
        is $client->segments - $before, 1, 'in one segment with the end'
            if $events >= $least;
    }

    # Without an end to come the answer does not wait for one.
    my $client = $client_behind->($least);
    wait_for { pushed() == $n };
    $client->send('POST ' . target() . " HTTP/1.1\r\nHost: x\r\n\r\n");
    wait_for { pushed() == $n };
    ok $client->readable, 'kept: an answer before the push';
    is $client->receive->{status}, 200, 'which is good';

    # nginx reads on.
    my $before = $client->segments;
    $client->send('POST ' . target() . " HTTP/1.1\r\nHost: x\r\n"
            . "Connection: close\r\nContent-Length: 10\r\n\r\n");
    wait_for { pushed() == $n };
    ok $client->readable, 'an answer before the push';
    $client->fill($end);
    like $client->{buffer}, qr{^HTTP/1.1 200 }, 'a body is still to come';
    $client->send('x' x 10);
    1 while $client->fill($end);
    is $client->segments - $before, 2, 'the end is a segment of its own';

    # Nor where something else comes first.
    for my $path (qw(/more /copy)) {
        $client = $client_behind->($least);
        wait_for { pushed() == $n };
        $before = $client->segments;
        $client->send('POST ' . target() =~ s{^/voc}{$path}r
                . " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        wait_for { pushed() == $n };
        ok $client->readable, "$path: an answer before the push";
        $listener->accept->close if $path eq '/copy';
        1 while $client->fill($end);
        like $client->{buffer}, qr{^HTTP/1.1 200 }, 'that is whole';
        is $client->segments - $before, 2, 'and the end behind it';
    }
    return;
}

for (['plain', 0], ['TLS', 1]) {
    my ($name, $tls) = @$_;

    subtest "$name: other requests"       => sub { other_requests($tls) };
    subtest "$name: a sender that is slow" => sub { slow_reader($tls) };
}

subtest 'many connections' => \&many_connections;
subtest 'TLS 1.2: the last answer' => sub { last_answer(0x0303, 0) };
subtest 'TLS 1.3: the last answer' => sub { last_answer(0x0304, 1) };

$nginx->stop;
$redis->stop;
done_testing;
