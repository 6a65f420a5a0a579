# journal ... sync=: what is answered when, and what happens to the file.

use strict;
use warnings;

use Test::More;
use VocTest qw(wait_for);
use VocTest::Client qw(query sample);
use VocTest::Nginx;
use VocTest::Redis;

my $redis = VocTest::Redis->new->start;

sub nginx {
    my ($journal) = @_;

    return VocTest::Nginx->new(http => <<"END")->start;
        voc_webhook_https off;
        voc_webhook_allow 127.0.0.1;
        voc_webhook_queue calls {
            redis   127.0.0.1:@{[ $redis->port ]};
            journal $journal;
        }
        server {
            listen 127.0.0.1:%%PORT%%;
            location = /voc { voc_webhook calls; }
        }
END
}

for my $journal ('%%DIR%%/journal sync=always', '%%DIR%%/journal sync=off',
    '%%DIR%%/journal sync=10ms', '%%DIR%%/journal', 'off')
{
    my $nginx   = nginx($journal);
    my @clients = map { VocTest::Client->new(port => $nginx->port) } 1 .. 10;

    $redis->cli('DEL', 'voc:events');
    for my $round (1 .. 20) {
        $_->send('POST /voc?' . query(sample('callRecordingAvailable'))
                . " HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            for @clients;
        $_->receive->{status} == 200 or die 'not accepted' for @clients;
    }
    my $form = $clients[0]->post('/voc', body => query(sample('ivrOption')),
        headers => ['Content-Type' => 'application/x-www-form-urlencoded']);
    is $form->{status}, 200, "journal $journal: a form";
    is scalar(@{[$redis->wait_events(201)]}), 201, 'all accepted and pushed';

    # A client that does not wait for its answer costs nothing.
    for (1 .. 20) {
        my $client = VocTest::Client->new(port => $nginx->port);
        $client->send('POST /voc?' . query(sample('callRecordingAvailable'))
            . " HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        $client->close;
    }
    ok wait_for { $redis->cli('LLEN', 'voc:events') >= 201 }, 'clients that left';
    is $clients[0]->post('/voc?' . query(sample('ivrOption')))->{status}, 200,
        'and it goes on';
    $nginx->stop;
}

# ---- the file under a running nginx -------------------------------------------------------

for my $what (qw(truncated deleted)) {
    my $nginx  = nginx('%%DIR%%/journal sync=10ms');
    my $client = VocTest::Client->new(port => $nginx->port);
    my ($file) = glob $nginx->dir . '/journal/*.journal';

    $nginx->expect_log(qr/\[(crit|alert)\].*(journal|$file)/);
    is $client->post('/voc?' . query(sample('ivrOption')))->{status}, 200,
        "before it is $what";
    $what eq 'truncated' ? truncate($file, 0) : unlink $file;
    my $answer;
    ok wait_for {
        $answer = $client->post('/voc?' . query(sample('ivrOption')));
        $answer->{status} == 503;
    }, "$what: refused";
    is $answer->json->{reason}, 'journal_error', 'with a reason';
    is $answer->{headers}{'retry-after'}, 1, 'and Retry-After';
    ok eval { $nginx->wait_log(qr/cannot be written/) }, 'and a line in the log';
    unlike $nginx->error_log, qr/signal/, 'no worker died';
    $nginx->stop;
}

done_testing;
