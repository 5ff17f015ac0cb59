package imap_test

import (
	"testing"

	"dproxy/test/loginrig"
)

func FuzzFront(f *testing.F) {
	loginrig.FuzzFront(f, loginrig.Fuzz{Protocol: protocol(), Conf: "imap_id_log = *\nimap_id_retain = yes\nauth_mechanisms = plain login", Growth: 64, Seeds: []string{
		"a CAPABILITY\r\nb NOOP\r\nc LOGOUT\r\n", "a LOGIN {1}\r\nu {1+}\r\np\r\n", "a LOGIN \"u\\\"\" p\r\n", "a AUTHENTICATE PLAIN =\r\n",
		"a AUTHENTICATE PLAIN\r\nAHUAcA==\r\nb NOOP\r\n", "a AUTHENTICATE LOGIN\r\n*\r\n", "a ID (\"name\" \"x\" \"os\" NIL)\r\n", "a ID (((\r\n", "a NOOP (x) \"y\" {3+}\r\nabc\r\n",
		"a STARTTLS\r\nb NOOP\r\n", "LOGIN u p\r\n", "* x\r\n+ y\r\n\r\n", "GET / HTTP/1.1\r\n", "a LOGIN {99999999999999999999}\r\n", "a {-1}\r\n", "a\rb\x00\xff\r\n",
		"a ENABLE ~{1}\r\n", "a LOGOUT\r\nb LOGIN u p\r\n",
	}})
}
