package pop3_test

import (
	"testing"

	"dproxy/test/loginrig"
)

func FuzzFront(f *testing.F) {
	loginrig.FuzzFront(f, loginrig.Fuzz{Protocol: protocol(), Conf: "auth_mechanisms = plain login apop", Growth: 64, Seeds: []string{
		"CAPA\r\nQUIT\r\n", "USER u\r\nPASS p\r\n", "AUTH\r\nAUTH PLAIN =\r\n", "AUTH PLAIN\r\nAHUAcA==\r\nCAPA\r\n", "AUTH LOGIN\r\n*\r\n", "APOP u 0123456789abcdef0123456789abcdef\r\n",
		"XCLIENT ADDR=192.0.2.1 PORT=1 SESSION=x TTL=3 FORWARD=YT0x\r\n", "XOIP ::1\r\n", "STLS\r\nCAPA\r\n", "x\r\ny\r\nz\r\n", "GET / HTTP/1.1\r\n", "U\rSER \x00\xff\r\n",
	}})
}
