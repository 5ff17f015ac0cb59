package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
)

// store is a mail host that costs next to nothing: it accepts every login, answers NOOP, sends literals of the size asked for,
// and swallows appended messages. It speaks enough IMAP for any proxy to log in.
type store struct {
	l net.Listener
	// chunk is what literals are made of.
	chunk []byte
}

const storeCaps = "IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE LITERAL+ AUTH=PLAIN AUTH=LOGIN"

func startStore(address string) (*store, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	s := &store{l: l, chunk: bytes.Repeat([]byte("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.\r\n"), 4096)}
	go s.accept()
	return s, nil
}

func (s *store) port() int { return s.l.Addr().(*net.TCPAddr).Port }

func (s *store) accept() {
	for {
		c, err := s.l.Accept()
		if err != nil {
			return
		}
		go s.session(c)
	}
}

// session answers line by line. Literals within commands are only expected of APPEND.
func (s *store) session(c net.Conn) {
	defer c.Close()
	if _, err := fmt.Fprintf(c, "* OK [CAPABILITY %s] ready\r\n", storeCaps); err != nil {
		return
	}
	// Small buffers: ten thousand idle sessions live in this process too.
	in := bufio.NewReaderSize(c, 512)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		tag, rest, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		verb, args, _ := strings.Cut(rest, " ")
		if err := s.answer(c, in, tag, strings.ToUpper(verb), args); err != nil {
			return
		}
	}
}

func (s *store) answer(c net.Conn, in *bufio.Reader, tag, verb, args string) error {
	var err error
	switch verb {
	case "LOGIN":
		if err = literals(c, in, args); err != nil {
			return err
		}
		_, err = fmt.Fprintf(c, "%s OK [CAPABILITY %s] Logged in\r\n", tag, storeCaps)
	case "AUTHENTICATE":
		if len(strings.Fields(args)) == 1 {
			if _, err = io.WriteString(c, "+ \r\n"); err != nil {
				return err
			}
			if _, err = in.ReadString('\n'); err != nil {
				return err
			}
		}
		_, err = fmt.Fprintf(c, "%s OK [CAPABILITY %s] Logged in\r\n", tag, storeCaps)
	case "CAPABILITY":
		_, err = fmt.Fprintf(c, "* CAPABILITY %s\r\n%s OK done\r\n", storeCaps, tag)
	case "ID":
		_, err = fmt.Fprintf(c, "* ID NIL\r\n%s OK done\r\n", tag)
	case "FETCH":
		err = s.fetch(c, tag, args)
	case "APPEND":
		err = s.append(c, in, tag, args)
	case "LOGOUT":
		_, _ = fmt.Fprintf(c, "* BYE\r\n%s OK done\r\n", tag)
		return io.EOF
	default:
		_, err = fmt.Fprintf(c, "%s OK done\r\n", tag)
	}
	return err
}

// literals reads the rest of a command whose arguments come as synchronising literals, as nginx sends them.
func literals(c net.Conn, in *bufio.Reader, args string) error {
	for strings.HasSuffix(args, "}") && !strings.HasSuffix(args, "+}") {
		if _, err := io.WriteString(c, "+ go on\r\n"); err != nil {
			return err
		}
		line, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		args = strings.TrimRight(line, "\r\n")
	}
	return nil
}

// fetch sends "FETCH n" as a literal of n bytes.
func (s *store) fetch(c net.Conn, tag, args string) error {
	n, err := strconv.Atoi(args)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(c, "* 1 FETCH (BODY[] {%d}\r\n", n); err != nil {
		return err
	}
	for n > 0 {
		piece := s.chunk[:min(n, len(s.chunk))]
		if _, err := c.Write(piece); err != nil {
			return err
		}
		n -= len(piece)
	}
	_, err = fmt.Fprintf(c, ")\r\n%s OK done\r\n", tag)
	return err
}

// append swallows "APPEND x {n+}" and its literal.
func (s *store) append(c net.Conn, in *bufio.Reader, tag, args string) error {
	_, size, _ := strings.Cut(args, "{")
	n, err := strconv.ParseInt(strings.TrimRight(size, "+}"), 10, 64)
	if err != nil {
		return err
	}
	if _, err := io.CopyN(io.Discard, in, n); err != nil {
		return err
	}
	if _, err := in.ReadString('\n'); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c, "%s OK done\r\n", tag)
	return err
}
