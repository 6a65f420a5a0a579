# nginx -t names file, line and what was expected; and it touches nothing.

use strict;
use warnings;

use Test::More;
use VocTest::Nginx;

my $nginx = VocTest::Nginx->new;
my $dir   = $nginx->dir;

sub config {
    my ($http) = @_;
    return $nginx->test_config(http => $http);
}

sub queue { return "voc_webhook_queue q {\njournal off;\n$_[0]\n}" }

sub location {
    return queue('') . " server { listen 127.0.0.1:%%PORT%%; location / {\n"
        . "$_[0]\n} }";
}

open my $file, '>', "$dir/password" or die $!;
print $file "secret\n";
close $file;
open $file, '>', "$dir/empty" or die $!;
close $file;
open $file, '>', "$dir/long" or die $!;
print $file 'x' x 5000;
close $file;
open $file, '>', "$dir/included" or die $!;
print $file "key included;\n";
close $file;

for my $good (
    queue(''),
    queue('redis 127.0.0.1;'),
    queue('redis 127.0.0.1:7000;'),
    queue('redis [::1]:7000;'),
    queue('redis localhost;'),
    queue('redis unix:/run/redis.sock;'),
    queue('redis redis://127.0.0.1;'),
    queue('redis redis://user:p%40ss@127.0.0.1:7000/3;'),
    queue('redis redis://:pass@127.0.0.1;'),
    queue('redis redis://127.0.0.1/;'),
    queue('redis_user u; redis_password p; redis_db 15;'),
    queue("redis_password_file $dir/password;"),
    queue('redis_connect_timeout 200ms; redis_timeout 2s; key "{x}:events";'),
    queue("include $dir/included;"),
    'voc_webhook_queue q { journal %%DIR%%/other; }',
    'voc_webhook_queue q { journal %%DIR%%/other size=64k sync=off; }',
    'voc_webhook_queue q { journal %%DIR%%/other size=1g sync=always; }',
    'voc_webhook_queue q { journal relative sync=100ms; }',
    'voc_webhook_queue a { journal off; } voc_webhook_queue b { journal off; }',
    'resolver 127.0.0.1; voc_webhook_queue q { journal off; redis no.such.invalid; }',
    location('voc_webhook q;'),
    location('voc_webhook q; voc_webhook_allow 10.0.0.0/8 2001:db8::/32 ::1 all;'),
    location('voc_webhook q; voc_webhook_https off; voc_webhook_scheme $http_x;'),
    location('voc_webhook q; voc_webhook_unknown_fields drop;'),
    'server { listen 127.0.0.1:%%PORT%%; location / { voc_webhook q; } } ' . queue(''),
    ) {
    my ($exit, $output) = config($good);
    is $exit, 0, $good =~ s/\s+/ /gr or diag $output;
    ok !-e "$dir/other", 'no directory was made' if $good =~ /other/;
}

# The line on which the http text begins in the harness's template.
my (undef, $probe) = config('nonsense;');
my ($first) = $probe =~ /unknown directive "nonsense" in .*:(\d+)/;

# [configuration, message, line of the directive within it]
my @bad = (
    ['voc_webhook_queue { journal off; }', qr/invalid number of arguments in "voc_webhook_queue"/],
    ['voc_webhook_queue a b { journal off; }', qr/invalid number of arguments in "voc_webhook_queue"/],
    ['voc_webhook_queue q;', qr/directive "voc_webhook_queue" has no opening "\{"/],
    ['voc_webhook_queue q { }', qr/no "journal" in voc_webhook_queue "q", expected "journal directory"/],
    [queue('') . queue(''), qr/duplicate voc_webhook_queue "q"/],
    ['server { voc_webhook_queue q { journal off; } }', qr/"voc_webhook_queue" directive is not allowed here/],
    [queue('nonsense on;'), qr/unknown directive "nonsense" in voc_webhook_queue/, 3],
    [queue('block { }'), qr/unexpected "\{"/, 3],
    [queue('redis;'), qr/invalid number of arguments in "redis"/, 3],
    [queue('redis a b;'), qr/invalid number of arguments in "redis"/, 3],
    [queue('redis 127.0.0.1:0;'), qr/invalid port in redis address "127.0.0.1:0", expected host\[:port\]/, 3],
    [queue('redis 127.0.0.1:x;'), qr/invalid port in redis address/, 3],
    [queue('redis 127.0.0.1:70000;'), qr/invalid port in redis address/, 3],
    [queue('redis unix:;'), qr/no path in .*redis address/, 3],
    [queue('redis "";'), qr/redis address ""/, 3],
    [queue('redis 127.0.0.1/x;'), qr/redis address "127.0.0.1\/x"/, 3],
    [queue('redis redis://127.0.0.1/x;'), qr/"redis" directive has an invalid database number/, 3],
    [queue('redis redis:///3;'), qr/"redis" directive has no host, expected/, 3],
    [queue('redis rediss://127.0.0.1;'), qr/"redis" directive does not support TLS/, 3],
    [queue('redis no.such.invalid;'), qr/host not found in redis address "no.such.invalid" of voc_webhook_queue "q" in .*:/],
    [queue("redis 127.0.0.1;\nredis 127.0.0.1;"), qr/"redis" directive is duplicate/, 4],
    [queue('redis_user u;'), qr/"redis_user" but no password, expected "redis_password"/],
    [queue('redis_user "";'), qr/"redis_user" directive is empty/, 3],
    [queue('redis_user a; redis_user b;'), qr/"redis_user" directive is duplicate/, 3],
    [queue('redis_password "";'), qr/"redis_password" directive is empty/, 3],
    [queue("redis_password x; redis_password_file $dir/password;"), qr/"redis_password_file" directive is duplicate/, 3],
    [queue("redis_password_file $dir/none;"), qr/open\(\) "$dir\/none" failed \(2: /, 3],
    [queue("redis_password_file $dir/empty;"), qr/first line of "$dir\/empty" is empty or too long, expected a password/, 3],
    [queue("redis_password_file $dir/long;"), qr/first line of "$dir\/long" is empty or too long/, 3],
    [queue('redis unix:relative;'), qr/redis address "unix:relative", expected .*unix:\/path/, 3],
    [queue('redis redis://u:%zz@127.0.0.1;'), qr/"redis" directive has a user or password that is not percent-encoded, expected/, 3],
    [queue('redis redis://u:p%4@127.0.0.1;'), qr/is not percent-encoded/, 3],
    [queue('redis redis://127.0.0.1/9999999999;'), qr/invalid database number/, 3],
    [queue('redis_db x;'), qr/invalid number "x" in "redis_db", expected 0 to/, 3],
    [queue('redis_db -1;'), qr/invalid number "-1" in "redis_db"/, 3],
    [queue('redis_db 9999999999;'), qr/invalid number "9999999999" in "redis_db"/, 3],
    [queue('redis_db 1; redis_db 1;'), qr/"redis_db" directive is duplicate/, 3],
    [queue('redis_connect_timeout x;'), qr/invalid time "x" in "redis_connect_timeout", expected a time above zero/, 3],
    [queue('redis_timeout 0;'), qr/invalid time "0" in "redis_timeout", expected a time above zero/, 3],
    [queue('redis_timeout 1s; redis_timeout 1s;'), qr/"redis_timeout" directive is duplicate/, 3],
    [queue('key "";'), qr/invalid key "", expected a name/, 3],
    [queue('key "a}b";'), qr/invalid key "a}b", expected a name, with "}" only in a hash tag/, 3],
    [queue('key "{}b";'), qr/invalid key/, 3],
    [queue('key a; key b;'), qr/"key" directive is duplicate/, 3],
    ["voc_webhook_queue q {\njournal size=1m;\n}", qr/invalid journal "size=1m", expected a directory or "off"/, 2],
    ["voc_webhook_queue q {\njournal on;\n}", qr/invalid journal "on", expected a directory or "off"/, 2],
    ["voc_webhook_queue q {\njournal /x size=1m size=2m;\n}", qr/duplicate parameter "size=2m" in "journal"/, 2],
    ['voc_webhook_queue q { journal /no/such/parent; }', qr/no directory "\/no\/such", voc_webhook_queue "q" is to keep its journal below it \(2: /],
    ['voc_webhook_queue q { journal %%DIR%%/password; }', qr/"\S+\/password" is not a directory/],
    ['voc_webhook_queue q { journal %%DIR%%/password/x; }', qr/no directory "\S+\/password"/],
    [queue('journal off;'), qr/"journal" directive is duplicate/, 3],
    ["voc_webhook_queue q {\njournal;\n}", qr/invalid number of arguments in "journal"/, 2],
    ["voc_webhook_queue q {\njournal off size=1m;\n}", qr/"journal" directive takes no parameters with "off"/, 2],
    ["voc_webhook_queue q {\njournal /x size=1k;\n}", qr/invalid journal size "1k", expected 64k to 1024g/, 2],
    ["voc_webhook_queue q {\njournal /x size=x;\n}", qr/invalid journal size "x"/, 2],
    ["voc_webhook_queue q {\njournal /x size=9999g;\n}", qr/invalid journal size "9999g"/, 2],
    ["voc_webhook_queue q {\njournal /x sync=x;\n}", qr/invalid journal sync "x", expected a time such as 1s, "off" or "always"/, 2],
    ["voc_webhook_queue q {\njournal /x sync=0;\n}", qr/invalid journal sync "0"/, 2],
    ["voc_webhook_queue q {\njournal /x what=1;\n}", qr/invalid parameter "what=1" in "journal", expected size= or sync=/, 2],
    ["voc_webhook_queue q {\njournal \"\";\n}", qr/invalid journal "", expected a directory or "off"/, 2],
    ['voc_webhook_queue a { journal /x; } voc_webhook_queue b { journal /x/; }', qr/journal directory "\/x" of voc_webhook_queue "b" is used by "a"/],
    [location('voc_webhook;'), qr/invalid number of arguments in "voc_webhook"/, 5],
    [location('voc_webhook none;'), qr/unknown voc_webhook_queue "none" in .*:\d+/],
    [location('voc_webhook q; voc_webhook q;'), qr/"voc_webhook" directive is duplicate/, 5],
    [location('voc_webhook q; voc_webhook_allow;'), qr/invalid number of arguments in "voc_webhook_allow"/, 5],
    [location('voc_webhook q; voc_webhook_allow nonsense;'), qr/invalid address "nonsense" in "voc_webhook_allow", expected an IPv4 or IPv6 address, a CIDR, or "all"/, 5],
    [location('voc_webhook q; voc_webhook_allow 1.2.3.4/33;'), qr/invalid address "1.2.3.4\/33"/, 5],
    [location('voc_webhook q; voc_webhook_allow all 1.2.3;'), qr/invalid address "1.2.3"/, 5],
    [location('voc_webhook q; voc_webhook_https maybe;'), qr/invalid value "maybe" in "voc_webhook_https" directive, it must be "on" or "off"/, 5],
    [location('voc_webhook q; voc_webhook_scheme;'), qr/invalid number of arguments in "voc_webhook_scheme"/, 5],
    [location('voc_webhook q; voc_webhook_scheme $no_such_variable;'), qr/unknown "no_such_variable" variable/],
    [location('voc_webhook q; voc_webhook_unknown_fields ignore;'), qr/invalid value "ignore" in "voc_webhook_unknown_fields" directive, it must be "keep", "drop" or "reject"/, 5],
    ['voc_webhook q;', qr/"voc_webhook" directive is not allowed here/],
    ['server { voc_webhook q; }', qr/"voc_webhook" directive is not allowed here/],
);

my (undef, $output) = config('voc_webhook_queue a { journal off; }'
        . "\nvoc_webhook_queue b { journal off; }");
like $output, qr/\[warn\].* "a" and "b" push to the same list: .*:@{[ $first + 1 ]}$/m,
    'two queues, one list';


for my $case (@bad) {
    my ($http, $message, $line) = @$case;
    my ($exit, $output) = config($http);
    my $name = $http =~ s/\s+/ /gr;

    isnt $exit, 0, "refused: $name";
    like $output, $message, 'with a message';
    like $output, qr/\[emerg\].* in \S+test\.conf:@{[ $first + $line - 1 ]}$/m,
        'file and line'
        if $line;
}

done_testing;
