# A name of Redis that http's resolver looks up at every connect.

use strict;
use warnings;

use IO::Socket::INET;
use Socket qw(inet_aton);
use Test::More;
use Time::HiRes qw(sleep time);
use VocTest qw(slow slurp spawn private_dir wait_for);
use VocTest::Client qw(query sample);
use VocTest::Nginx;
use VocTest::Redis;

# A name server in a process of its own: the addresses are in a file, none is
# no such name, no file no answer.
my $dir   = private_dir();
my $names = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Proto => 'udp')
    or die $!;
my $pid = fork // die $!;
if (!$pid) {
    while (defined(my $from = $names->recv(my $packet, 512))) {
        my ($id, $question) = unpack 'a2 x10 a*', $packet;
        my $ipv6 = $question =~ /\0\0\x1c\0\x01$/;

        next if !-e "$dir/addresses";
        my @addresses = $ipv6 ? () : split ' ', slurp("$dir/addresses");
        my $code = $ipv6 || @addresses ? 0 : 3;
        $names->send($id . pack('nnnnn', 0x8180 | $code, 1, scalar @addresses, 0, 0)
            . $question . join('', map { pack('nnnNn', 0xc00c, 1, 1, 1, 4) . inet_aton($_) } @addresses),
            0, $from);
    }
    POSIX::_exit(0);
}
END { my $status = $?; kill 'KILL', $pid if $pid; $? = $status }

sub addresses {
    open my $file, '>', "$dir/new" or die $!;
    print {$file} "@_";
    close $file;
    rename "$dir/new", "$dir/addresses" or die $!;
}

my $redis = VocTest::Redis->new->start;

sub nginx {
    return VocTest::Nginx->new(workers => 1, http => <<"END")->start;
        resolver 127.0.0.1:@{[ $names->sockport ]} ipv6=off valid=1s;
        resolver_timeout 2s;
        voc_webhook_queue calls {
            redis   redis.test:@{[ $redis->port ]};
            journal %%DIR%%/journal size=64k;
            redis_connect_timeout 300ms;
        }
        server {
            listen 127.0.0.1:%%PORT%%;
            location = /voc { voc_webhook calls; voc_webhook_https off; voc_webhook_allow all; }
        }
END
}

sub post {
    my ($nginx) = @_;

    return VocTest::Client->new(port => $nginx->port)
        ->post('/voc?' . query(sample('callRecordingAvailable')))->{status};
}

# ---- no answer, no name -----------------------------------------------------------------

my $nginx = nginx();
is post($nginx), 200, 'no name server: events are accepted';
ok eval { $nginx->wait_log(qr/\[error\].*redis\.test:\d+\): connecting took too long/) },
    'it is said';
my $start = time;
$nginx->stop;
cmp_ok time - $start, '<', 1.5 * slow(), 'a stop does not wait for it';

# Several connects have been given up by the time the answer comes.
$nginx->start;
is post($nginx), 200, 'still none';
sleep 1.5;
addresses('127.0.0.1');
is scalar(@{[$redis->wait_events(2)]}), 2, 'an answer that comes late';
is scalar(grep {/ name=/} split /\n/, $redis->cli('CLIENT', 'LIST')), 2,
    'one connection, and ours';
$nginx->stop;

addresses();
$nginx->start;
ok eval { $nginx->wait_log(qr/\[error\].*redis\.test could not be resolved \(3: Host not found\)/) },
    'no such name';

# ---- one, another, several ------------------------------------------------------------------

is post($nginx), 200, 'no name: events are accepted';
addresses('127.0.0.1');
is scalar(@{[$redis->wait_events(3)]}), 3, 'a name that comes up';

$redis->stop;
addresses('127.0.0.2');
is post($nginx), 200, 'Redis has moved';
$redis->{conf} = "bind 127.0.0.2\n";
$redis->start;
$redis->cli('DEL', 'voc:events');
is post($nginx), 200, 'accepted';
is scalar(@{[$redis->wait_events(2)]}), 2, 'found at its new address';

$redis->stop;
addresses('127.0.0.3', '127.0.0.4', '127.0.0.2');
$redis->start;
is post($nginx), 200, 'several addresses';
is scalar(@{[$redis->wait_events(1)]}), 1, 'each is tried';

done_testing;
