# What a request costs: instructions, counted by callgrind, of nginx's own
# "return 200" and of the module, over HTTP and HTTPS.  For the same binaries
# the counts are the same from run to run, whatever else the machine does.

use strict;
use warnings;

use Config;
use IO::Socket::UNIX;
use Test::More;
use VocTest qw(private_dir slurp);
use VocTest::Client qw(query sample);
use VocTest::Nginx;

# Of a request more than "return 200" does.  Reached on Debian 12: 6,300, of
# them 1,800 in SHA-1: valgrind does not know the CPU's own instructions for
# it, and what OpenSSL does then depends on the CPU.
# Over HTTPS the buffers and the look at the socket that a connection with
# events does without count against it: 1,900.
my %bound = (HTTP => 8_500, HTTPS => 3_000);

my $warm  = 50;
my $count = 1_000;

my ($valgrind) = grep {-x} map {"$_/valgrind"} split /:/, $ENV{PATH};
plan skip_all => 'valgrind is not installed' if !$valgrind;
plan skip_all => 'the module is instrumented'
    if $ENV{VOC_VALGRIND} || $ENV{VOC_PRELOAD};

my $dir = private_dir();

# Accepts connections and never answers: the pusher waits, and costs nothing.
my $redis = IO::Socket::UNIX->new(Local => "$dir/redis", Listen => 100)
    or die "listen: $!";
chmod 0777, "$dir/redis";

# nginx as the harness would start it, under callgrind.
my ($nginx) = grep {-x} map {"$_/nginx"} split(/:/, $ENV{PATH}),
    '/usr/local/sbin', '/usr/sbin';
$nginx = $ENV{NGINX} // $nginx // die 'no nginx';
open my $script, '>', "$dir/nginx" or die $!;
print $script <<"END";
#!/bin/sh
exec $valgrind -q --tool=callgrind --vgdb=no \\
    --callgrind-out-file=$dir/counts $nginx "\$@"
END
close $script;
chmod 0755, "$dir/nginx";
$ENV{NGINX} = "$dir/nginx";

my %target = ('return 200' => '/ok', module => '/voc');
my @kinds  = (
    ['HTTP',  'return 200'], ['HTTP',  'module'],
    ['HTTPS', 'return 200'], ['HTTPS', 'module'],
);

sub http {
    return <<"END";
        keepalive_requests 100000;
        voc_webhook_https off;
        voc_webhook_allow 127.0.0.1;
        voc_webhook_queue calls {
            redis                 unix:$dir/redis;
            redis_connect_timeout 1h;
            journal               %%DIR%%/journal size=1m;
        }
        server {
            listen 127.0.0.1:%%PORT%%;
            listen 127.0.0.1:%%PORT_1%% ssl;
            %%SSL%%
            location = /voc { voc_webhook calls; }
            location = /ok  { return 200 "OK\\n"; }
        }
END
}

sub post {
    my ($client, $path, $n) = @_;
    my @event = sample($n % 2 ? 'inboundCallEnd' : 'outboundCallStart',
        callid => sprintf 'call-%06d', $n);
    my $answer = $client->post("$path?" . query(@event));

    $answer->{status} == 200 or die "$path: $answer->{status}";
    return;
}

# Instructions of a whole life of nginx with so many requests of each kind.
sub instructions {
    my (@requests) = @_;
    my $server = VocTest::Nginx->new(
        workers => 0,
        main    => 'master_process off;',
        http    => http(),
    )->start;

    for my $i (0 .. $#kinds) {
        my ($protocol, $what) = @{ $kinds[$i] };
        my $tls    = $protocol eq 'HTTPS';
        my $client = VocTest::Client->new(
            port => $server->port($tls ? 1 : ''),
            tls  => $tls,
        );

        post($client, $target{$what}, $_) for 1 .. $requests[$i];
        $client->close;
    }
    $server->stop;

    my ($total) = slurp("$dir/counts") =~ /^totals: (\d+)/m
        or die 'callgrind counted nothing';
    unlink "$dir/counts";
    return $total;
}

my $base = instructions(($warm) x @kinds);
my %each;
for my $i (0 .. $#kinds) {
    my ($protocol, $what) = @{ $kinds[$i] };
    my @requests = ($warm) x @kinds;

    $requests[$i] += $count;
    $each{$protocol}{$what}
        = int((instructions(@requests) - $base) / $count + 0.5);
}

for my $protocol (sort keys %each) {
    my ($limit, $module) = @{ $each{$protocol} }{'return 200', 'module'};

    diag("$protocol, instructions for a request: return 200 $limit, "
            . "the module $module, " . ($module - $limit) . ' more');
    cmp_ok $limit, '>', 1_000, "$protocol: return 200 is counted";
    cmp_ok $module, '>', $limit, "$protocol: so is the module";
SKIP: {
        skip 'the bound is for x86-64', 1 if $Config{archname} !~ /x86_64/;
        cmp_ok $module - $limit, '<', $bound{$protocol},
            "$protocol: the module's share has its bound";
    }
}

done_testing;
