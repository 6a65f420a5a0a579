# Steady load over HTTPS on two workers while Redis goes away and comes back:
# every event that was answered 200 is on the list, once, in order.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(sleep time);
use VocTest qw(private_dir reap slurp spawn wait_for);
use VocTest::Nginx;
use VocTest::Redis;

my $seconds = $ENV{VOC_LOAD_SECONDS} // 6;    # of load

my $redis = VocTest::Redis->new(appendonly => 1, conf => "appendfsync no\n")->start;
my $nginx = VocTest::Nginx->new(workers => 2, http => <<"END")->start;
    log_format voc '\$status \$voc_webhook_callid';
    voc_webhook_queue calls {
        redis   127.0.0.1:@{[ $redis->port ]};
        journal %%DIR%%/journal size=512m;
    }
    server {
        listen 127.0.0.1:%%PORT%% ssl;
        %%SSL%%
        keepalive_requests 1000000;
        access_log %%DIR%%/access.log voc buffer=64k;
        location = /voc { voc_webhook calls; voc_webhook_allow 127.0.0.1; }
    }
END

my $dir = private_dir();
open my $script, '>', "$dir/load.lua" or die $!;
print $script <<'END';
local thread = 0
local counter = 0
function setup(t) t:set("id", thread); thread = thread + 1 end
function request()
    counter = counter + 1
    return wrk.format("POST", "/voc?event=inboundCallEnd&date=2024-01-01+19:00"
        .. "&callid=" .. id .. "-" .. counter .. "&crm_id=usefulid"
        .. "&inboundNumber=611800111222&callerid=61288880000&extension=280085"
        .. "&duration=88&answeredDuration=77")
end
END
close $script;

my $wrk = spawn("$dir/wrk.log", 'wrk', '-t2', '-c50', "-d${seconds}s", '--latency',
    '-s', "$dir/load.lua", 'https://127.0.0.1:' . $nginx->port);

# An outage in the middle: Redis stopped, started, frozen, thawed.
sleep $seconds / 6;
$redis->stop;
sleep $seconds / 3;
$redis->start;
sleep $seconds / 12;
$redis->pause;
sleep $seconds / 6;
$redis->resume;

ok wait_for(sub { reap($wrk) }, $seconds + 10), 'wrk has ended';
unlike slurp("$dir/wrk.log"), qr/Non-2xx|Socket errors/, 'nothing but 200';

sub accepted {
    $nginx->{flushed}++ or kill 'USR1', $nginx->pid;    # flushes the log
    return slurp($nginx->dir . '/access.log') =~ /^200 (\S+)/mg;
}
my ($n) = slurp("$dir/wrk.log") =~ /(\d+) requests in/;
my @accepted;
wait_for { @accepted = accepted(); @accepted >= $n };
cmp_ok scalar(@accepted), '>=', $n, "$n answers of 200";

ok wait_for(sub { $redis->cli('LLEN', 'voc:events') >= @accepted }, 30),
    'as many events on the list';

my %left = map { $_ => 1 } @accepted;
is scalar(keys %left), scalar(@accepted), 'each request was its own';

my ($twice, $last, $disorder) = (0, 0, 0);
open my $list, '-|', 'redis-cli', '-s', $redis->socket, '--raw', 'LRANGE',
    'voc:events', 0, -1 or die $!;
while (<$list>) {
    my ($callid, $number) = /"callid":"([^"]+)".*"seq":"[0-9a-f]+:(\d+)"\}$/
        or die "odd: $_";
    delete $left{$callid} or $twice++;
    $disorder++ if $number != ++$last;
}
is scalar(keys %left), 0, 'none is lost';
is $twice, 0, 'none is there twice, none was not accepted';
is $last, scalar(@accepted), 'as many as were accepted';
is $disorder, 0, 'in the order of acceptance';

note slurp("$dir/wrk.log");

done_testing;
