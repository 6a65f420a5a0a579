# What stands on the list: the ten events to the byte, and every type at and
# past its bounds.

use strict;
use warnings;
use utf8;

use Test::More;
use VocTest::Client qw(query sample samples);
use VocTest::Nginx;
use VocTest::Redis;

my $redis = VocTest::Redis->new->start;
my $nginx = VocTest::Nginx->new(http => <<"END")->start;
    voc_webhook_https off;
    voc_webhook_allow all;
    voc_webhook_queue calls {
        redis   127.0.0.1:@{[ $redis->port ]};
        journal %%DIR%%/journal size=1m;
    }
    server {
        listen 127.0.0.1:%%PORT%%;
        location = /voc    { voc_webhook calls; }
        location = /drop   { voc_webhook calls; voc_webhook_unknown_fields drop; }
        location = /reject { voc_webhook calls; voc_webhook_unknown_fields reject; }
    }
END
my $client = VocTest::Client->new(port => $nginx->port);

my $uuid     = qr/[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}/;
my $received = qr/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/;

sub post { return $client->post("/voc?$_[0]") }

# The event's line as it came off the list, between id and received.
sub pushed {
    my ($query, $path) = @_;

    my $answer = $client->post(($path // '/voc') . "?$query");
    return "$answer->{status} $answer->{body}" if $answer->{status} != 200;

    my ($line) = $redis->wait_list('voc:events', 1);
    $redis->cli('LPOP', 'voc:events');
    my ($id, $middle, $rest)
        = $line =~ /\A\{"v":1,"id":"($uuid)",(.*),"received":"(.*)\z/s
        or return "odd: $line";
    return "odd end: $rest"
        if $rest !~ /\A$received","seq":"[0-9a-f]{16}:[1-9]\d*"\}\z/;
    return "other id: $answer->{body}"
        if $answer->{body} ne qq({"status":"accepted","id":"$id"});
    return $middle;
}

sub changed { return pushed(query(sample(@_))) }

# ---- the ten events --------------------------------------------------------------

my $common = '"date":"2024-01-01T19:00:00Z","callid":"testcall","crm_id":"usefulid"';
my $in     = '"inboundNumber":"611800111222","callerid":"61288880000"';
my $out    = '"extension":280085,"destination":"61288880000"';
my $ends   = '"duration":88,"answeredDuration":77';

my %own = (
    inboundCallStart           => ",$in",
    inboundCallRinging         => ",$in,\"extension\":280085",
    inboundCallAnswered        => ",$in,\"extension\":280085",
    inboundCallEnd             => ",$in,\"extension\":280085,$ends",
    outboundCallStart          => ",$out",
    outboundCallAnswered       => ",$out",
    outboundCallEnd            => ",$out,$ends",
    ivrOption                  => ",$in,\"ivrOption\":\"1\"",
    callRecordingAvailable     => '',
    callTranscriptionAvailable => '',
);

for my $sample (samples()) {
    my $name = $sample->[1];
    is pushed(query(@$sample)), qq("event":"$name",$common$own{$name}), $name;
    my @pairs = map { [@$sample[2 * $_, 2 * $_ + 1]] } 0 .. $#$sample / 2;
    is pushed(query(map {@$_} reverse @pairs)),
        qq("event":"$name",$common$own{$name}), "$name, fields in reverse";
}

# ---- types -----------------------------------------------------------------------

# [event, field, value, JSON or undef for invalid_field]
my @longest = ('1' x 20, '9' x 128, 'c' x 255);
my @cases = (
    (map { ['callRecordingAvailable', 'date', @$_] }
        ['2024-01-01 19:00',     '"2024-01-01T19:00:00Z"'],
        ['2024-01-01 19:00:59',  '"2024-01-01T19:00:59Z"'],
        ['2024-01-01T19:00:00Z', '"2024-01-01T19:00:00Z"'],
        ['2024-01-01 19:00Z',    '"2024-01-01T19:00:00Z"'],
        ['2024-02-29 23:59:59',  '"2024-02-29T23:59:59Z"'],
        ['2000-02-29 00:00',     '"2000-02-29T00:00:00Z"'],
        ['0001-01-01 00:00',     '"0001-01-01T00:00:00Z"'],
        ['9999-12-31 23:59:59',  '"9999-12-31T23:59:59Z"'],
        map { [$_, undef] } '2023-02-29 12:00', '1900-02-29 12:00',
        '2024-13-01 12:00', '2024-00-01 12:00', '2024-04-31 12:00',
        '2024-01-00 12:00', '2024-01-01 24:00', '2024-01-01 12:60',
        '2024-01-01 12:00:60', '2024-01-01', '2024-01-01 12',
        '24-01-01 12:00', '2024-1-1 12:00', '2024-01-01  12:00',
        '2024-01-01 12:00 ', ' 2024-01-01 12:00', '2024-01-01t12:00',
        '2024-01-01 12:00z', '2024-01-01 12:00:0', '2024-01-01 12:00:00.5',
        '2024-01-01 12:00+00:00', '', 'null'),
    (map { ['inboundCallStart', 'inboundNumber', @$_] }
        ['1',            '"1"'],
        [$longest[0],    qq("$longest[0]")],
        ['+61288880000', '"61288880000"'],
        [' 61288880000', '"61288880000"'],
        ["+$longest[0]", qq("$longest[0]")],
        ['007',          '"007"'],
        map { [$_, undef] } "1$longest[0]", '', '+', ' ', '++1', '+ 1', '1 ',
        '1a', 'null', 'Anonymous', '１'),
    (map { ['inboundCallStart', 'callerid', @$_] }
        ['Anonymous', '"Anonymous"'],
        ['anonymous', '"Anonymous"'],
        ['ANONYMOUS', '"Anonymous"'],
        ['+1',        '"1"'],
        ['',          'null'],
        ['null',      'null'],
        map { [$_, undef] } 'NULL', 'anonymou', 'anonymouss', "1$longest[0]"),
    (map { ['outboundCallStart', 'extension', @$_] }
        ['0',          '0'],
        ['2147483647', '2147483647'],
        ['007',        '7'],
        ['0000000000', '0'],
        map { [$_, undef] } '2147483648', '9999999999', '00000000001', '-1',
        '+1', '1.0', '', 'null', '1e3'),
    (map { ['inboundCallEnd', 'extension', @$_] }
        ['',     'null'],
        ['null', 'null'],
        ['5',    '5'],
        ['x',    undef]),
    (map { ['inboundCallEnd', 'answeredDuration', @$_] }
        ['',     'null'],
        ['null', 'null'],
        ['0',    '0'],
        ['x',    undef]),
    (map { ['inboundCallEnd', 'duration', @$_] }
        ['0',    '0'],
        ['',     undef],
        ['null', undef]),
    (map { ['callRecordingAvailable', 'callid', @$_] }
        ['x',         '"x"'],
        [$longest[1], qq("$longest[1]")],
        ['é' x 64,    '"' . 'é' x 64 . '"'],
        ['null',      '"null"'],
        ['a"b\\c/d',  '"a\\"b\\\\c/d"'],
        ['😀',        '"😀"'],
        map { [$_, undef] } '', "9$longest[1]", 'é' x 64 . 'x'),
    (map { ['callRecordingAvailable', 'crm_id', @$_] }
        [$longest[2], qq("$longest[2]")],
        ['',          'null'],
        ['null',      'null'],
        [' ',         '" "'],
        ["c$longest[2]", undef]),
    (map { ['ivrOption', 'ivrOption', @$_] }
        (map { [$_, qq("$_")] } 0 .. 9, '*', '#'),
        map { [$_, undef] } '', '10', 'a', '##', ' ', 'null'),
);

for my $case (@cases) {
    my ($event, $field, $value, $json) = @$case;
    my $shown = length $value > 30 ? length($value) . ' characters' : "'$value'";
    my $name  = "$event $field $shown";
    utf8::encode($name);

    if (defined $json) {
        utf8::encode($json);
        like changed($event, $field => $value), qr/"$field":\Q$json\E(?=,|$)/,
            $name;
    }
    else {
        my $answer = post(query(sample($event, $field => $value)));
        is "$answer->{status} @{$answer->json}{qw(reason field)}",
            "400 invalid_field $field", $name;
    }
}

# ---- nullable and required ------------------------------------------------------

my %nullable = (crm_id => 1, callerid => 1, answeredDuration => 1);

for my $sample (samples()) {
    my $event = $sample->[1];
    my @names = map { $sample->[ 2 * $_ ] } 1 .. $#$sample / 2;

    for my $field (@names) {
        my $null = $nullable{$field}
            || "$event $field" eq 'inboundCallEnd extension';
        if ($null) {
            like changed($event, $field => undef), qr/"$field":null/,
                "$event without $field";
        }
        else {
            my $answer = post(query(sample($event, $field => undef)));
            is "$answer->{status} @{$answer->json}{qw(reason field)}",
                "400 missing_field $field", "$event without $field";
        }
    }
}

# ---- the query -------------------------------------------------------------------

my $recording = '"event":"callRecordingAvailable",' . $common;
my $base      = 'event=callRecordingAvailable&date=2024-01-01+19:00&callid=testcall&crm_id=usefulid';

is pushed($base), $recording, '+ is a space';
is pushed("&&$base&&"), $recording, 'empty pairs';
is pushed($base =~ s/event=/%65ven%74=/r), $recording, 'an encoded name';
is pushed($base =~ s/2024/%32%3024/r), $recording, 'an encoded value';
is pushed($base =~ s/event=call/event=%63all/r), $recording, 'an encoded event';
is pushed('crm_id=usefulid&ivrOption=#&event=ivrOption&date=2024-01-01+19:00'
        . '&callid=testcall&inboundNumber=611800111222&callerid=61288880000'),
    qq("event":"ivrOption",$common,$in,"ivrOption":"#"), 'a raw # is data';
is pushed('event=ivrOption&date=2024-01-01+19:00&callid=testcall'
        . '&inboundNumber=611800111222&callerid=61288880000'
        . '&ivrOption=#&crm_id=x#y#'),
    qq("event":"ivrOption",) . ($common =~ s/usefulid/x#y#/r)
    . qq(,$in,"ivrOption":"#"), 'several # are data';
like pushed("$base#"), qr/"crm_id":"usefulid#"/, 'a # at the end';
is pushed("#a=b&$base"), qq($recording,"extra":{"#a":"b"}),
    'a # at the beginning';
is pushed("$base&x=a=b&y&z=?"), qq($recording,"extra":{"x":"a=b","y":"","z":"?"}),
    'a value with =, none, with ?';

# ---- unknown fields --------------------------------------------------------------

is pushed("newField=x&$base"), qq($recording,"extra":{"newField":"x"}), 'kept';
is pushed("b=2&$base&a=1&Event=x&c=%22%5C"),
    qq($recording,"extra":{"Event":"x","a":"1","b":"2","c":"\\"\\\\"}),
    'sorted by name, case matters';
is pushed("$base&duration=5"), qq($recording,"extra":{"duration":"5"}),
    'a field of other events is unknown to this one';
is pushed("$base&=x"), qq($recording,"extra":{"":"x"}), 'an empty name';
is pushed("$base&newField=x", '/drop'), $recording, 'dropped';
my $answer = $client->post("/reject?$base&newField=x");
is "$answer->{status} @{$answer->json}{qw(reason field)}",
    '400 unknown_field newField', 'rejected';
is pushed($base, '/reject'), $recording, 'none to reject';

# ---- ids -------------------------------------------------------------------------

sub id { return post($_[0])->json->{id} }

my $id = id("$base&a=1&b=2");
is id("b=2&$base&a=1"), $id, 'a retry has the same id, whatever the order';
is id("$base&a=1&b=2" =~ s/19:00/19:00:00Z/r), $id, 'and however it is written';
isnt id("$base&a=1&b=3"), $id, 'another extra field, another id';
isnt id("$base&a=1b=2"), $id, 'fields do not run together';
isnt id("$base&a=1&b=2" =~ s/usefulid/null/r), $id, 'null is another value';
my @items = $redis->wait_events(6);
is scalar(@items), 6, 'a retry is pushed again';
is $items[0]{id}, $items[1]{id}, 'with its id';
my @seq = map { (split /:/, $_->{seq})[1] } @items;
is_deeply [map { $_ - $seq[0] } @seq], [0 .. 5], 'seq grows by one';
is scalar(keys %{ { map { (split /:/, $_->{seq})[0] => 1 } @items } }), 1,
    'one journal id';

done_testing;
