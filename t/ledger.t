# The harness of the fault tests can fail: the ledger finds what is wrong, the
# sender writes down what it gets, the proxy does what it says.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time);
use VocTest qw(wait_for);
use VocTest::Ledger;
use VocTest::Proxy;
use VocTest::Rig;

my ($a, $b) = ('a' x 16, 'b' x 16);

sub problems {
    my ($list, %options) = @_;
    my @lines = map {
        my ($callid, $seq) = split / /;
        qq({"callid":"$callid","seq":"$seq"})
    } @$list;
    my %problems = VocTest::Ledger::compare(
        accepted => [[qw(s-0-1 s-0-2)], [qw(s-1-1)]],
        sent     => { map { $_ => 1 } qw(s-0-1 s-0-2 s-0-3 s-1-1) },
        list     => \@lines,
        %options,
    );
    return join ' ', map { "$_=@{ $problems{$_} }" }
        grep { @{ $problems{$_} } } sort keys %problems;
}

my @good = ("s-0-1 $a:1", "s-1-1 $a:2", "s-0-2 $b:1");
is problems(\@good), '', 'all is well';
is problems([@good, "s-0-3 $b:2"]), '', 'without an answer, and there';
is problems([@good[0, 1]]), 'lost=s-0-2', 'lost';
is problems([@good, "s-0-2 $b:2"]), 'twice=s-0-2', 'twice';
is problems([@good, "s-9-9 $b:2"]), 'strange=s-9-9', 'never sent';
is problems([@good, "s-0-3 $b:1"]), "seq=s-0-3 ($b:1)", 'a number again';
is problems([@good[0, 1], "s-0-3 $b:2", "s-0-2 $b:1"]), "seq=s-0-2 ($b:1)",
    'numbers that go down';
is problems([@good, "s-0-3 $a:3"]), "journal=s-0-3 ($a:3)", 'back to a journal';
is problems([@good, "s-0-3 $a:3"], mixed => 1), '', 'where that may be';
is problems(["s-0-2 $a:1", "s-0-1 $a:2", "s-1-1 $a:3"]), 'order=s-0-2',
    'a connection out of order';
like VocTest::Ledger::text(VocTest::Ledger::compare(accepted => [['x']],
        sent => {}, list => [])), qr/^lost: 1, such as x/, 'in words';

# ---- sender, consumer, proxy with real servers ------------------------------------

my $redis = VocTest::Redis->new->start;
my $proxy = VocTest::Proxy->new(to => $redis->port)->start;
my $rig   = VocTest::Rig->new(redis => $redis, via => $proxy->port);
$rig->{nginx}->start;

# A signal while Perl still compiles would end it with a panic.
my $many = $rig->send(connections => 8, rate => 100);
is scalar(grep { -e $many->log_name($_) } 0 .. 7), 8, 'all senders run';
$many->stop;
my $consumer = $rig->consume('LPOP');
ok -e "$consumer->{dir}/lines", 'the consumer runs';
$consumer->stop;
$rig->marker->verify('stopped at once');
open my $file, '>>', "$consumer->{dir}/lines" or die $!;
my @taken = $consumer->lines;
syswrite $file, '{"v":1,';
is scalar($consumer->lines), @taken, 'a line that is being written is none yet';
syswrite $file, "}\n";
is scalar($consumer->lines), @taken + 1, 'a whole one is';
$rig->{consumer} = undef;
$redis->cli('DEL', 'voc:events');
@{ $rig->{senders} } = @{ $rig->{markers} } = ();

my $sender = $rig->send(connections => 2, rate => 200, count => 100)->wait;
is $sender->summary, '200: 200', 'each request had its answer';
$rig->marker->verify('all of them are there');

$redis->cli('RPOP', 'voc:events') for 1 .. 2;
my @lines = $rig->list;
is scalar(@lines), 199, 'one, and the marker, is taken away';
$redis->cli('RPUSH', 'voc:events', $lines[0]);
my %problems = VocTest::Ledger::compare(accepted => [$rig->accepted],
    sent => $sender->sent, list => [$rig->list]);
is scalar(@{ $problems{lost} }),  1, 'missed';
is scalar(@{ $problems{twice} }), 1, 'the copy is seen';
$redis->cli('DEL', 'voc:events');
@{ $rig->{senders} } = @{ $rig->{markers} } = ();

for my $how (qw(BLMOVE LPOP)) {
    my $consumer = $rig->consume($how);
    my $sender = $rig->send(connections => 2, rate => 0);
    $sender->wait_more(200);
    $rig->verify("$how while it runs");
    $sender->stop;
    wait_for { !$redis->cli('LLEN', 'voc:events') };
    $consumer->stop;
    $rig->verify("$how, all taken");
    is $redis->cli('LLEN', 'voc:events'), 0, 'nothing is left';
    $redis->cli('DEL', 'voc:done');
    @{ $rig->{senders} } = ();
    $rig->{consumer} = undef;
}

# One event: it takes this long, so the proxy is in between.
$proxy->mode('delay', 0.3);
my $start = time;
$rig->marker;
cmp_ok time - $start, '>', 0.29, 'delayed';
$proxy->mode('drip', 0.001);
$rig->marker;
$proxy->mode('blackhole');
my $one = $rig->send(connections => 1, count => 1)->wait;
$rig->nginx->wait_log(qr/no reply in time|no answer in time/);
$proxy->mode('pass');
$rig->verify('after a black hole');
cmp_ok $proxy->connections, '>', 1, 'a new connection was made';

done_testing;
