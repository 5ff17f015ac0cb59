package managesieve_test

import (
	"testing"

	"dproxy/test/loginrig"
)

func FuzzFront(f *testing.F) {
	loginrig.FuzzFront(f, loginrig.Fuzz{Protocol: protocol(), Conf: "auth_mechanisms = plain login", Growth: 400, EchoesAny: true, Seeds: []string{
		"CAPABILITY\r\nLOGOUT\r\n", "AUTHENTICATE \"PLAIN\" \"AHUAcA==\"\r\n", "AUTHENTICATE {5+}\r\nPLAIN {8+}\r\nAHUAcA==\r\n", "AUTHENTICATE \"LOGIN\"\r\n\"*\"\r\nNOOP\r\n",
		"XCLIENT ADDR=192.0.2.1 PORT=1 SESSION=x TTL=3 FORWARD=YT0x\r\n", "STARTTLS\r\nNOOP\r\n", "NOOP \"a\\\"\"\r\n", "NOOP {3}\r\nabc\r\n", "NOOP {99999999999999999999}\r\n", "GET / HTTP/1.1\r\n", "x\r\n \x00\xff\r\n",
	}})
}
