package submission_test

import (
	"testing"

	"dproxy/test/loginrig"
)

func FuzzFront(f *testing.F) {
	loginrig.FuzzFront(f, loginrig.Fuzz{Protocol: protocol(), Conf: "auth_mechanisms = plain login", Growth: 400, Seeds: []string{
		"EHLO x\r\nQUIT\r\n", "HELO x\r\nAUTH PLAIN AHUAcA==\r\n", "AUTH PLAIN\r\nAHUAcA==\r\nNOOP \"a\\\"b\"\r\n", "AUTH LOGIN\r\n*\r\n",
		"XCLIENT ADDR=IPV6:2001:db8::1 PORT=1 SESSION=x TTL=3 FORWARD=YT0x HELO=a+20b PROTO=SMTP\r\n", "STARTTLS\r\nEHLO x\r\n", "MAIL FROM:<a@b>\r\n", "GET / HTTP/1.1\r\n", "NO OP \x00\xff\r\n",
	}})
}
