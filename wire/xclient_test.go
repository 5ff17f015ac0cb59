package wire

import (
	"fmt"
	"testing"
)

func TestXClient(t *testing.T) {
	for in, want := range map[string]string{
		"":                                       `[] ""`,
		"ADDR=192.0.2.1 PORT=5":                  `[ADDR=192.0.2.1 PORT=5] ""`,
		"addr=IPV6:2001:db8::1":                  `[ADDR=2001:db8::1] ""`,
		"ADDR=IPV6:192.0.2.1":                    `[] "Invalid ADDR parameter"`,
		"ADDR=fe80::1%25eth0":                    `[] "Invalid ADDR parameter"`,
		"PORT=0":                                 `[] "Invalid PORT parameter"`,
		"PORT=65536":                             `[] "Invalid PORT parameter"`,
		"TTL=-1":                                 `[] "Invalid TTL parameter"`,
		"TTL=2147483648":                         `[] "Invalid TTL parameter"`,
		"TIMEOUT=x":                              `[] "Invalid TIMEOUT parameter"`,
		"PROTO=esmtp":                            `[PROTO=ESMTP] ""`,
		"PROTO=[UNAVAILABLE]":                    `[] "Invalid PROTO parameter"`,
		"ADDR=[UNAVAILABLE] HELO=[unavailable]":  `[] ""`,
		"HELO=a_b!c":                             `[HELO=a_b] ""`,
		"HELO=!":                                 `[] ""`,
		"LOGIN=u+40x":                            `[LOGIN=u@x] ""`,
		"LOGIN=u+00":                             `[] "Invalid LOGIN parameter: Encountered NUL character in xtext"`,
		"LOGIN=u+4":                              `[] "Invalid LOGIN parameter: Invalid hexchar after '+' in xtext"`,
		"LOGIN=a=b":                              `[] "Invalid parameter: Unexpected character in parameter value"`,
		"=x":                                     `[] "Invalid parameter: Unexpected character in parameter keyword"`,
		"ADDR=192.0.2.1  PORT=5":                 `[] "Invalid parameter: Parameter is empty"`,
		"FOO BAR=x":                              `[FOO= BAR=x] ""`,
		"DESTADDR=192.0.2.3 DESTPORT=77":         `[DESTADDR=192.0.2.3 DESTPORT=77] ""`,
		"ADDR=192.0.2.1 TTL=3 PORT=99999 HELO=a": `[] "Invalid PORT parameter"`,
	} {
		fields, fault := XClient(in)
		got := []string{}
		for _, f := range fields {
			got = append(got, f.Name+"="+f.Value)
		}
		if s := fmt.Sprintf("%v %q", got, fault); s != want {
			t.Errorf("%s: got %s, want %s", in, s, want)
		}
	}
}
