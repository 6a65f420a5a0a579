# Answers over TLS: their buffer is the request's own, and what else the
# connection is used for has nginx's.

use strict;
use warnings;

use Test::More;
use VocTest qw(private_dir);
use VocTest::Client qw(query sample);
use VocTest::Nginx;
use VocTest::Redis;

my $redis = VocTest::Redis->new->start;
my $files = private_dir();
my $big   = join '', map {"line $_ of a file that fills several records\n"} 1 .. 2_000;

chmod 0755, $files;
open my $file, '>', "$files/big" or die $!;
print $file $big;
close $file;

# More than the buffer of an answer holds.
my $long = 'x' x 2_000;

my $nginx = VocTest::Nginx->new(http => <<"END")->start;
    voc_webhook_queue calls {
        redis   127.0.0.1:@{[ $redis->port ]};
        journal %%DIR%%/journal size=4m;
    }
    voc_webhook_allow 127.0.0.1;
    server {
        listen 127.0.0.1:%%PORT%% ssl sndbuf=16k rcvbuf=1m;
        %%SSL%%
        keepalive_requests 100000;
        location = /voc  { voc_webhook calls; }
        location = /long { voc_webhook calls; add_header X-Long $long always; }
        location = /big  { root $files; }
    }
END

my $n = 0;

sub target {
    my ($path, @changes) = @_;
    return "$path?" . query(sample('ivrOption', callid => 'c' . ++$n, @changes));
}

sub client { return VocTest::Client->new(port => $nginx->port, tls => 1) }

sub accepted {
    my ($answer) = @_;
    return $answer && $answer->{status} == 200
        && $answer->json->{status} eq 'accepted';
}

subtest 'a connection that is used for other things, too' => sub {
    my $client = client();

    for my $round (1 .. 3) {
        ok accepted($client->post(target('/voc'))), "$round: an event";
        is $client->post(target('/voc', callid => undef))->{status}, 400,
            "$round: not an event";

        $client->{largest} = 0;
        my $answer = $client->request('GET', '/big');
        ok $answer->{body} eq $big, "$round: a file, whole";
        cmp_ok $client->{largest}, '>', 8_000, "$round: ... in large records";
    }
};

subtest 'an answer larger than its buffer' => sub {
    my $client = client();

    for my $round (1 .. 3) {
        my $answer = $client->post(target('/long'));

        ok accepted($answer), "$round: an event";
        is $answer->{headers}{'x-long'}, $long, "$round: ... with all its header";
        is $client->post(target('/long', date => 'x'))->json->{reason},
            'invalid_field', "$round: not an event";
    }
};

subtest 'requests sent before the answers are read' => sub {
    my $client = client();
    my $count  = 2_000;
    my $good   = 0;
    my $sent   = '';

    # The answers are more than the sockets hold, so some have to wait.
    for my $i (1 .. $count) {
        my $path = $i % 50 ? '/voc' : '/long';
        $sent .= 'POST ' . target($path) . " HTTP/1.1\r\nHost: x\r\n\r\n";
    }
    $client->send($sent);
    $client->send("GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
    $good += accepted($client->receive) for 1 .. $count;
    is $good, $count, 'each is answered';
    ok $client->receive->{body} eq $big, 'and a file behind them';
};

subtest 'HTTP/2' => sub {
    my $http2 = VocTest::Nginx->new(http => <<"END")->start;
        voc_webhook_queue calls {
            redis   127.0.0.1:@{[ $redis->port ]};
            journal %%DIR%%/journal size=64k;
        }
        server {
            listen 127.0.0.1:%%PORT%% ssl http2;
            %%SSL%%
            location = /voc { voc_webhook calls; voc_webhook_allow 127.0.0.1; }
            location = /big { root $files; }
        }
END
    my @command = (
        qw(curl -sS -k --http2 --max-time 10),
        qw(-X POST), map { 'https://127.0.0.1:' . $http2->port . target('/voc') }
            1 .. 20
    );

    # One connection for all of them.
    push @command, qw(--next -sS -k --http2 --max-time 10),
        'https://127.0.0.1:' . $http2->port . '/big';
    open my $pipe, '-|', @command or die "curl: $!";
    my $text = join '', <$pipe>;
    is scalar(() = $text =~ /"status":"accepted"/g), 20, 'each is answered';
    ok $text =~ /\Q$big\E\z/, 'and a file behind them';
    $http2->stop;
};

$nginx->stop;
$redis->stop;
done_testing;
