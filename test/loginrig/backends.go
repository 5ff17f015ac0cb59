package loginrig

import "strings"

// IMAP is a backend that accepts every login and then says what it got.
func IMAP(p *Peer) {
	p.Send("* OK [CAPABILITY IMAP4rev1 SASL-IR ID] backend\r\n")
	for {
		line := p.Line()
		switch word, _, _ := strings.Cut(strings.TrimPrefix(line, "L "), " "); {
		case strings.HasSuffix(line, "<EOF>"), strings.HasSuffix(line, "<nothing>"):
			return
		case strings.HasPrefix(line, "I "):
			p.Send("I OK\r\n")
		case strings.HasPrefix(line, "C "):
			p.Send("* CAPABILITY IMAP4rev1 XLATE\r\nC OK\r\n")
		case word == "LOGIN", word == "AUTHENTICATE":
			p.Send("L OK [CAPABILITY IMAP4rev1 XDONE] Logged in\r\n")
			Echo(p)
			return
		}
	}
}

// POP3 is a backend that accepts every login and then says what it got.
func POP3(p *Peer) {
	p.Send("+OK backend\r\n")
	for {
		line := p.Line()
		switch word, _, _ := strings.Cut(line, " "); {
		case strings.HasSuffix(line, "<EOF>"), strings.HasSuffix(line, "<nothing>"):
			return
		case word == "PASS", word == "AUTH":
			p.Send("+OK Logged in.\r\n")
			Echo(p)
			return
		default:
			p.Send("+OK\r\n")
		}
	}
}

// Echo answers each line with "got: " and the line, until the connection ends. The line "bye" makes it end.
func Echo(p *Peer) {
	for {
		line := p.Line()
		if strings.HasSuffix(line, "<EOF>") || strings.HasSuffix(line, "<nothing>") {
			return
		}
		p.Send("got: " + line + "\r\n")
		if line == "bye" {
			return
		}
	}
}
