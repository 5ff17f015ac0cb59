package attack

import (
	"fmt"
	"strings"
)

// protocol is what the tests need to know of one of the five.
type protocol struct {
	name, section string
	ready         string // what the last line of a greeting begins with
	starttls      [2]string
	noop          [2]string // before login and after it
	login         func(u, p string) [][2]string
	serve         func(*tap)
	refused       []string // what a login hears when its backend is of no use
}

// protocols in the order of their ports. LMTP has no login: what stands for it is a message for the user.
var protocols = []protocol{
	{
		name: "imap", section: "imap-login", ready: "* OK", starttls: [2]string{"s STARTTLS\r\n", "s OK"}, noop: [2]string{"n NOOP\r\n", "n OK"},
		login: func(u, p string) [][2]string {
			return [][2]string{{"a LOGIN " + u + " " + p + "\r\n", "a OK"}}
		},
		serve: serveIMAP, refused: []string{"a NO [UNAVAILABLE] ", "a NO [SERVERBUG] "},
	},
	{
		name: "pop3", section: "pop3-login", ready: "+OK", starttls: [2]string{"STLS\r\n", "+OK"}, noop: [2]string{"CAPA\r\n", "+OK"},
		login: func(u, p string) [][2]string {
			return [][2]string{{"USER " + u + "\r\n", "+OK"}, {"PASS " + p + "\r\n", "+OK"}}
		},
		serve: servePOP3, refused: []string{"-ERR [SYS/TEMP] "},
	},
	{
		name: "submission", section: "submission-login", ready: "220 ", starttls: [2]string{"STARTTLS\r\n", "220 "}, noop: [2]string{"NOOP\r\n", "250 "},
		login: func(u, p string) [][2]string {
			return [][2]string{{"EHLO client.example.org\r\n", "250 "}, {"AUTH PLAIN " + plain("", u, p) + "\r\n", "235 "}}
		},
		serve: serveSubmission, refused: []string{"454 4.7.0 ", "421 4.3.2 "},
	},
	{
		name: "sieve", section: "managesieve-login", ready: "OK", starttls: [2]string{"STARTTLS\r\n", "OK"}, noop: [2]string{"NOOP\r\n", "OK"},
		login: func(u, p string) [][2]string {
			return [][2]string{{"AUTHENTICATE \"PLAIN\" \"" + plain("", u, p) + "\"\r\n", "OK"}}
		},
		serve: serveSieve, refused: []string{"NO (TRYLATER) ", "NO \"Account is temporarily unavailable.\""},
	},
	{
		name: "lmtp", section: "lmtp", ready: "220 ", starttls: [2]string{"STARTTLS\r\n", "220 "}, noop: [2]string{"NOOP\r\n", "250 "},
		login: func(u, p string) [][2]string {
			return [][2]string{
				{"LHLO client.example.org\r\n", "250 "},
				{"MAIL FROM:<s@example.net>\r\n", "250 "},
				{"RCPT TO:<" + u + ">\r\n", "250 "},
				{"DATA\r\n", "354 "},
				{"Subject: for " + u + "\r\n\r\nhello\r\n.\r\n", "250 "},
			}
		},
		serve: serveLMTP, refused: []string{"451 4.4.0 ", "454 4.0.0 "},
	},
}

// protocolOf is the protocol of a listener.
func protocolOf(listener string) protocol {
	for _, p := range protocols {
		if strings.HasPrefix(listener, p.name) {
			return p
		}
	}
	panic("no protocol has the listener " + listener)
}

// more tells that a line of an SMTP reply, a capability of ManageSieve or an untagged line is not an answer's last.
func (p protocol) more(l string) bool {
	switch p.name {
	case "imap":
		return strings.HasPrefix(l, "* ") && !strings.HasPrefix(l, "* BYE")
	case "sieve":
		return strings.HasPrefix(l, `"`)
	case "submission", "lmtp":
		return len(l) > 3 && l[3] == '-'
	}
	return false
}

// greeting reads one.
func (p *peer) greeting(listener string) error {
	pr := protocolOf(listener)
	for {
		l, err := p.next()
		if err != nil || strings.HasPrefix(l, pr.ready) {
			return err
		}
		if !pr.more(l) {
			return fmt.Errorf("greeting %q", l)
		}
	}
}

// answer reads one and returns its last line.
func (p *peer) answer(pr protocol) (string, error) {
	for {
		l, err := p.next()
		if err != nil || l != "" && !pr.more(l) {
			return l, err
		}
	}
}

// talk sends commands and wants answers that begin as they should.
func (p *peer) talk(pr protocol, script [][2]string) error {
	for _, s := range script {
		p.send(s[0])
		l, err := p.answer(pr)
		if err != nil {
			return fmt.Errorf("%.20q: %w", s[0], err)
		}
		if !strings.HasPrefix(l, s[1]) {
			return fmt.Errorf("%.20q: answer %q", s[0], l)
		}
	}
	return nil
}

const (
	ehloReply   = "250-good\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250-PIPELINING\r\n250-XCLIENT ADDR PORT PROTO HELO LOGIN SESSION TTL TIMEOUT FORWARD\r\n250 AUTH PLAIN LOGIN\r\n"
	sieveBanner = "\"IMPLEMENTATION\" \"good\"\r\n\"SIEVE\" \"fileinto\"\r\n\"SASL\" \"PLAIN\"\r\n\"XCLIENT\"\r\n\"VERSION\" \"1.0\"\r\nOK \"ready\"\r\n"
	lhloReply   = "250-good\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250-PIPELINING\r\n250 XCLIENT ADDR PORT PROTO HELO LOGIN SESSION TTL TIMEOUT\r\n"
)

// serveSubmission is a backend that takes everybody.
func serveSubmission(c *tap) {
	if c.send("220 good ESMTP\r\n") == nil {
		submissionCommands(c)
	}
}

func submissionCommands(c *tap) {
	for {
		l, err := c.r.ReadString('\n')
		if err != nil {
			return
		}
		answer := "250 2.0.0 " + word(l)
		switch word(l) {
		case "EHLO":
			answer = strings.TrimSuffix(ehloReply, "\r\n")
		case "XCLIENT":
			answer = "220 good again"
		case "AUTH":
			answer = "235 2.7.0 in"
		case "STARTTLS":
			answer = "220 2.0.0 go"
		}
		if c.send(answer+"\r\n") != nil {
			return
		}
	}
}

// word is the command of a line.
func word(l string) string {
	w, _, _ := strings.Cut(strings.TrimRight(l, "\r\n"), " ")
	return strings.ToUpper(w)
}

// serveSieve is a backend that takes everybody.
func serveSieve(c *tap) {
	if c.send(sieveBanner) == nil {
		sieveCommands(c)
	}
}

func sieveCommands(c *tap) {
	for {
		l, err := c.r.ReadString('\n')
		if err != nil {
			return
		}
		if c.send("OK \""+word(l)+"\"\r\n") != nil {
			return
		}
	}
}

// serveLMTP is a backend that takes every message, and reads them as strictly as the standard has it.
func serveLMTP(c *tap) {
	if c.send("220 good LMTP\r\n") == nil {
		lmtpCommands(c)
	}
}

func lmtpCommands(c *tap) {
	recipients := 0
	for {
		l, err := c.r.ReadString('\n')
		if err != nil {
			return
		}
		answer := "250 2.0.0 " + word(l) + "\r\n"
		switch word(l) {
		case "LHLO":
			answer = lhloReply
		case "XCLIENT":
			answer = "220 good again\r\n"
		case "MAIL":
			recipients = 0
		case "RCPT":
			recipients++
		case "DATA":
			if c.send("354 go\r\n") != nil || !c.message() {
				return
			}
			answer = strings.Repeat("250 2.0.0 saved\r\n", recipients)
		}
		if c.send(answer) != nil {
			return
		}
	}
}

// message reads up to CRLF.CRLF, and keeps what it was.
func (c *tap) message() bool {
	var text strings.Builder
	text.WriteString("\r\n") // the end of DATA's line
	for !strings.HasSuffix(text.String(), "\r\n.\r\n") {
		l, err := c.r.ReadString('\n')
		if err != nil {
			return false
		}
		text.WriteString(l)
	}
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	if len(c.b.messages) < 10000 {
		c.b.messages = append(c.b.messages, text.String())
	}
	return true
}
