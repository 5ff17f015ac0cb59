package lmtp

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
)

// message sends a message by DATA and reads the answers to it.
func (c *client) message(body string, answers ...string) {
	c.t.Helper()
	c.play("C: DATA", "S: 354 OK")
	if err := c.send(body); err != nil {
		c.t.Fatal(err)
	}
	for _, a := range answers {
		c.play("S: " + a)
	}
}

const date = `[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [+-]\d{4}`

func TestReceived(t *testing.T) {
	head := "Received: from client.example.com ([127.0.0.1])\n\tby proxy.example.org with LMTP\n\tid SID\n\t(envelope-from <sender@example.com>)"
	for _, tt := range []struct {
		name, settings string
		rcpts          []string
		want           string
	}{
		{"names the only recipient", "", []string{"<u1+d@x>"}, head + "\n\tfor <u1+d@x>; DATE\n"},
		{"names none of several", "", []string{"<u1@x>", "<u2@x>"}, head + "; DATE\n"},
		{"names nobody when lmtp_hdr_delivery_address is none", "lmtp_hdr_delivery_address = none\n", []string{"<u1@x>"}, head + "; DATE\n"},
		{"names ORCPT when it is original", "lmtp_hdr_delivery_address = original\n", []string{"<u1@x> ORCPT=rfc822;first+2Bd@z"}, head + "\n\tfor <first+d@z>; DATE\n"},
		{"names the recipient when there is no ORCPT", "lmtp_hdr_delivery_address = original\n", []string{"<u1@x>"}, head + "\n\tfor <u1@x>; DATE\n"},
		{"is left out when lmtp_add_received_header is no", "lmtp_add_received_header = no\n", []string{"<u1@x>"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newFake(t)
			r := newRig(t, tt.settings, "u1@x "+at(b, ""), "u2@x "+at(b, ""))
			c := r.opened(t, "")
			var answers []string
			for _, to := range tt.rcpts {
				c.play("C: RCPT TO:"+to, "S: 250 .*")
				answers = append(answers, "250 2.0.0 <.*> .* Saved")
			}
			c.message("Subject: hi\r\n\r\n.\r\n", answers...)
			got := b.message(t, 0)
			for _, x := range []struct{ pattern, with string }{{date, "DATE"}, {`\tid ` + sid + `\n`, "\tid SID\n"}} {
				got = replaceAll(got, x.pattern, x.with)
			}
			if want := tt.want + "Subject: hi\n\n"; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestHeaderIsNotMadeOfWhatIsNoName(t *testing.T) {
	b := newFake(t)
	r := newRig(t, "", "u@x "+at(b, ""))
	c := r.connect(t, "")
	c.play(hello, "C: LHLO (evil)", "S: 250-.*", "S: 250-.*", "S: 250-.*", "S: 250-.*", "S: 250 .*", "C: MAIL FROM:<>", "S: 250 .*", "C: RCPT TO:<u@x>", "S: 250 .*")
	c.message("hi\r\n.\r\n", "250 .*")
	if got := b.message(t, 0); !strings.HasPrefix(got, "Received: from unknown ([127.0.0.1])\n") {
		t.Errorf("the backend got %q", got)
	}
}

// TestOneBackendsFailureIsItsOwn has recipients at three backends of which the second fails somehow.
func TestOneBackendsFailureIsItsOwn(t *testing.T) {
	lost := func(why string) string { return `451 4.4.0 Proxy failed \(` + why + `session=` + sid + `:R2\)` }
	for _, tt := range []struct {
		name  string
		rules []rule
		want  string
	}{
		{"a refusal at DATA", []rule{{"DATA$", "554 5.6.0 no"}}, "554 5.6.0 <u2@x> no"},
		{"a close at DATA", []rule{{"DATA$", "!close"}}, lost("connection lost, ")},
		{"a refusal of the message", []rule{{"DATAEND", "452 4.2.2 <other> quota exceeded"}}, "452 4.2.2 <u2@x> quota exceeded"},
		{"a close instead of the answer", []rule{{"DATAEND", "!close"}}, lost("connection lost, ")},
		{"silence instead of the answer", []rule{{"DATAEND", "!hang"}}, lost("timed out, ")},
		{"nonsense instead of the answer", []rule{{"DATAEND", "hello"}}, lost("bad reply, ")},
		{"a greeting instead of the answer", []rule{{"DATAEND", "354 again"}}, `451 4.4.0 <u2@x> Proxy failed \(bad reply\)`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			one, two, three := newFake(t), newFake(t, tt.rules...), newFake(t)
			r := newRig(t, "", "u1@x "+at(one, ""), "u2@x "+at(two, "proxy_timeout=1"), "u3@x "+at(three, ""))
			c := r.opened(t, "")
			for _, u := range []string{"u1", "u2", "u3"} {
				c.play("C: RCPT TO:<"+u+"@x>", "S: 250 2.1.5 OK")
			}
			c.message("hi\r\n.\r\n", "250 2.0.0 <u1@x> "+sid+" Saved", tt.want, "250 2.0.0 <u3@x> "+sid+":R3 Saved")
			c.play("C: MAIL FROM:<a@x>", "S: 250 2.1.0 OK")
			if one.count() != 1 || three.count() != 1 {
				t.Error("a message did not arrive at a backend that said it had")
			}
			r.waitFor(t, `Info: lmtp-server: conn .* \[1\]: rcpt u1@x: <`+sid+`>: Sent message to <u1@x> at 127\.0\.0\.1:\d+: 250 2\.0\.0 <u1@x> Saved \(1/3 at \d+ ms\)$`)
			r.waitFor(t, `: rcpt u2@x: <`+sid+`:R2>: Failed to send message to <u2@x> at 127\.0\.0\.1:\d+: \d\d\d .* \(2/3 at \d+ ms\)$`)
		})
	}
}

func TestRecipientsOfOneBackendHaveTheirOwnAnswers(t *testing.T) {
	b := newFake(t, rule{"DATAEND <u2", "452 4.2.2 quota exceeded"}, rule{"DATAEND <u3", "250 2.6.0 other code"}, rule{"DATAEND <u4", "!close"})
	r := newRig(t, "", "u1@x "+at(b, ""), "u2@x "+at(b, ""), "u3@x "+at(b, ""), "u4@x "+at(b, ""))
	c := r.opened(t, "")
	for _, u := range []string{"u1", "u2", "u3", "u4"} {
		c.play("C: RCPT TO:<"+u+"@x>", "S: 250 2.1.5 OK")
	}
	c.message("hi\r\n.\r\n", "250 2.0.0 <u1@x> .* Saved", "452 4.2.2 <u2@x> quota exceeded", "250 2.6.0 <u3@x> .* Saved", `451 4.4.0 Proxy failed \(connection lost, session=.*:R4\)`)
}

func TestAnswersDoNotWaitForALaterBackend(t *testing.T) {
	one, two := newFake(t), newFake(t, rule{"DATAEND", "!hang"})
	r := newRig(t, "", "u1@x "+at(one, ""), "u2@x "+at(two, "proxy_timeout=30"))
	c := r.opened(t, "")
	c.play("C: RCPT TO:<u1@x>", "S: 250 .*", "C: RCPT TO:<u2@x>", "S: 250 .*")
	c.message("hi\r\n.\r\n", "250 2.0.0 <u1@x> .* Saved")
	two.stop()
	c.play(`S: 451 4.4.0 Proxy failed \(connection lost, .*`)
}

func TestDeliveryGoesOnWithoutTheClient(t *testing.T) {
	b := newFake(t, rule{"DATAEND", "!hang"})
	r := newRig(t, "", "u@x "+at(b, "proxy_timeout=30"))
	c := r.opened(t, "")
	c.play("C: RCPT TO:<u@x>", "S: 250 .*")
	c.message("hi\r\n.\r\n")
	_ = c.nc.Close()
	for b.count() == 0 {
		runtime.Gosched()
	}
	b.stop()
	r.waitFor(t, `Failed to send message to <u@x> at .*: 451 4\.4\.0 Remote closed connection unexpectedly \(1/1 at`)
}

// TestSmuggling sends what a lax reader takes for the end of a message. It stays in the message, and the
// strict reader at the backend finds the same end.
func TestSmuggling(t *testing.T) {
	for _, end := range []string{"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r", "\r.\r\n", "\n.\r", "\r\n.\r\r\n"} {
		t.Run(fmt.Sprintf("%q", end), func(t *testing.T) {
			b := newFake(t)
			r := newRig(t, "lmtp_add_received_header = no\n", "u@x "+at(b, ""))
			c := r.opened(t, "")
			c.play("C: RCPT TO:<u@x>", "S: 250 .*")
			c.message("one"+end+"MAIL FROM:<evil@x>\r\nRCPT TO:<u@x>\r\nDATA\r\ntwo\r\n.\r\n", "250 2.0.0 <u@x> .* Saved")
			c.play("C: NOOP", "S: 250 2.0.0 OK")
			if n := b.count(); n != 1 {
				t.Fatalf("the backend has %d messages", n)
			}
			if got := b.message(t, 0); !strings.HasPrefix(got, "one") || !strings.HasSuffix(got, "MAIL FROM:<evil@x>\nRCPT TO:<u@x>\nDATA\ntwo\n") {
				t.Errorf("the backend got %q", got)
			}
			for _, cmd := range b.heard() {
				if strings.Contains(cmd, "evil") {
					t.Errorf("the backend was told %q", cmd)
				}
			}
		})
	}
}

func TestDotsAreKept(t *testing.T) {
	b := newFake(t)
	r := newRig(t, "lmtp_add_received_header = no\n", "u@x "+at(b, ""))
	c := r.opened(t, "")
	c.play("C: RCPT TO:<u@x>", "S: 250 .*")
	c.message("..\r\n...\r\n..a\r\nb.\r\nlf\n.\nx\r\n.\r\n", "250 .*")
	if got, want := b.message(t, 0), ".\n..\n.a\nb.\nlf\n.\nx\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestBDAT(t *testing.T) {
	b := newFake(t)
	r := newRig(t, "lmtp_add_received_header = no\n", "u@x "+at(b, ""))
	for _, tt := range []struct {
		name  string
		steps []string
		want  string // the message, "" for none
	}{
		{"one chunk", []string{`Q: "BDAT 5 LAST\r\n.\r\na\n"`, "S: 250 2.0.0 <u@x> .* Saved"}, ".\na\n"},
		{"several chunks", []string{`Q: "BDAT 3\r\nab\r"`, "S: 250 2.0.0 Added 3 octets", `Q: "BDAT 3\r\n\nc\n"`, "S: 250 2.0.0 Added 3 octets", "C: BDAT 0 LAST", "S: 250 2.0.0 <u@x> .* Saved"}, "ab\nc\n"},
		{"commands in a chunk are no commands", []string{`Q: "BDAT 6 LAST\r\nQUIT\r\n"`, "S: 250 2.0.0 <u@x> .* Saved"}, "QUIT\n"},
		{"DATA within chunks", []string{`Q: "BDAT 1\r\na"`, "S: 250 .*", "C: DATA", "S: 503 5.5.0 Bad sequence of commands"}, ""},
		{"another word than LAST", []string{`Q: "BDAT 6 FOO\r\nQUIT\r\n"`, "S: 501 5.5.4 Invalid end marker parameter", `Q: "BDAT 1 LAST\r\na"`, "S: 503 5.5.0 Previous data chunk failed, issue RSET first", "C: DATA", "S: 503 5.5.0 Previous data chunk failed, issue RSET first", "C: RSET", "S: 250 .*"}, ""},
		{"a size that is none ends the connection, for what follows may be a message", []string{`Q: "BDAT x LAST\r\nQUIT\r\n"`, "S: 501 5.5.4 Invalid chunk size parameter", "EOF"}, ""},
		{"a negative one too", []string{`Q: "BDAT -1 LAST\r\nQUIT\r\n"`, "S: 501 5.5.4 Invalid chunk size parameter", "EOF"}, ""},
		{"and one that does not fit", []string{`Q: "BDAT 99999999999999999999\r\n"`, "S: 501 5.5.4 Invalid chunk size parameter", "EOF"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := b.count()
			c := r.opened(t, "")
			c.play("C: RCPT TO:<u@x>", "S: 250 .*")
			c.play(tt.steps...)
			if n := b.count() - before; n != 0 && tt.want == "" {
				t.Fatal("the backend has a message")
			}
			if tt.want != "" {
				if got := b.message(t, before); got != tt.want {
					t.Errorf("the backend got %q, want %q", got, tt.want)
				}
			}
		})
	}
	t.Run("without a recipient the chunk is read and refused", func(t *testing.T) {
		r.opened(t, "").play(`Q: "BDAT 6 LAST\r\nQUIT\r\n"`, "S: 503 5.5.0 No valid recipients", "C: NOOP", "S: 250 .*")
	})
}

func TestChunkingBackendGetsTheMessageByteForByte(t *testing.T) {
	b := newFake(t)
	b.caps = append(b.caps, "CHUNKING")
	r := newRig(t, "lmtp_add_received_header = no\n", "u@x "+at(b, ""))
	c := r.opened(t, "")
	c.play("C: RCPT TO:<u@x>", "S: 250 .*", `Q: "BDAT 9 LAST\r\na\n.\nb\r\n\x00c"`, "S: 250 2.0.0 <u@x> .* Saved")
	if got, want := b.message(t, 0), "a\n.\nb\n\x00c"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestBigMessage sends 25 MB to two backends. Whatever its size, only a little of it is in memory.
func TestBigMessage(t *testing.T) {
	one, two := newFake(t), newFake(t)
	one.keep, two.keep = false, false
	r := newRig(t, "lmtp_add_received_header = no\n", "u1@x "+at(one, ""), "u2@x "+at(two, ""))
	c := r.opened(t, "")
	c.play("C: RCPT TO:<u1@x>", "S: 250 .*", "C: RCPT TO:<u2@x>", "S: 250 .*", "C: DATA", "S: 354 OK")
	const lines = 25 << 20 / 64
	block := bytes.Repeat([]byte(strings.Repeat("x", 62)+"\r\n"), 1024)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range lines / 1024 {
		if _, err := c.nc.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	c.play(`Q: ".\r\n"`, "S: 250 2.0.0 <u1@x> .* Saved", "S: 250 2.0.0 <u2@x> .* Saved")
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
		t.Errorf("%d bytes were allocated in all, for a message of %d", n, lines*64)
	}
	for _, b := range []*fake{one, two} {
		b.mu.Lock()
		if b.bytes != lines*64 {
			t.Errorf("a backend got %d bytes of %d", b.bytes, lines*64)
		}
		b.mu.Unlock()
	}
	c.play("C: QUIT", "S: 221 .*", "EOF")
}

func TestSpool(t *testing.T) {
	read := func(s *spool) string {
		var b bytes.Buffer
		if _, err := b.ReadFrom(s.reader()); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	part := bytes.Repeat([]byte("0123456789abcdef"), 1<<10)
	s := newSpool(t.TempDir())
	defer s.close()
	var want strings.Builder
	for range 10 {
		s.write(part)
		want.Write(part)
		if s.file == nil && len(s.mem) > memoryLimit || s.file != nil && s.mem != nil {
			t.Fatalf("%d bytes are in memory", len(s.mem))
		}
		if got := read(s); got != want.String() {
			t.Fatalf("read %d bytes that are not those written", len(got))
		}
	}
	if s.file == nil {
		t.Fatal("no file was made")
	}
	if info, err := s.file.Stat(); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode is %v, %v", info.Mode(), err)
	}
	if names, err := os.ReadDir(s.dir); err != nil || len(names) != 0 {
		t.Errorf("the file has a name: %v, %v", names, err)
	}
}

func TestMessageThatCannotBeKept(t *testing.T) {
	b := newFake(t)
	dir := t.TempDir()
	r := newRig(t, "state_dir = "+dir+"\n", "u@x "+at(b, ""))
	c := r.opened(t, "")
	c.play("C: RCPT TO:<u@x>", "S: 250 .*", "C: DATA", "S: 354 OK")
	// The directory goes while the message is on its way.
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := c.send(strings.Repeat(strings.Repeat("x", 62)+"\r\n", 4096) + ".\r\n"); err != nil {
		t.Fatal(err)
	}
	c.play("S: 452 4.3.1 <u@x> Message could not be stored on its way", "C: MAIL FROM:<a@x>", "S: 250 2.1.0 OK")
	if b.count() != 0 {
		t.Error("the backend has a message")
	}
	r.waitFor(t, `^Error: Failed to keep a message of 127\.0\.0\.1 until its delivery: `)
}

// TestClientThatLeavesDuringASlowRecipient frees the backend's connection at once.
func TestClientThatLeavesDuringASlowRecipient(t *testing.T) {
	b := newFake(t, rule{"RCPT", "!hang"})
	r := newRig(t, "", "u@x "+at(b, ""))
	c := r.opened(t, "")
	c.play("C: RCPT TO:<u@x>")
	for len(b.rcpts()) == 0 {
		runtime.Gosched()
	}
	_ = c.nc.Close()
	r.waitFor(t, `^Info: Disconnect from 127\.0\.0\.1: Connection closed \(state=RCPT TO\)$`)
}

// TestKilledBackendWithinTheMessage loses one of two backends while the message is written to both.
func TestKilledBackendWithinTheMessage(t *testing.T) {
	one, two := newFake(t), newFake(t)
	one.keep = false
	r := newRig(t, "", "u1@x "+at(one, ""), "u2@x "+at(two, ""))
	c := r.opened(t, "")
	c.play("C: RCPT TO:<u2@x>", "S: 250 .*", "C: RCPT TO:<u1@x>", "S: 250 .*", "C: DATA", "S: 354 OK")
	block := bytes.Repeat([]byte(strings.Repeat("x", 62)+"\r\n"), 1024)
	for range 32 {
		if _, err := c.nc.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	two.stop()
	c.play(`Q: ".\r\n"`, `S: 451 4.4.0 Proxy failed \(connection lost, session=.*\)`, "S: 250 2.0.0 <u1@x> .* Saved")
}
