package conf

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"unicode/utf8"
)

// The checks of this file are about mail storage. They only make doveconf's output the same.

const mailStorageKeys = "mailbox_idle_check_interval mail_nfs_index mmap_disable mail_fsync mail_cache_max_size " +
	"mail_cache_purge_delete_percentage pop3_uidl_format mail_attachment_hash mail_attachment_detection_options " +
	"mail_cache_fields mail_always_cache_fields mail_never_cache_fields"

func checkManagesieve(k *checker) error {
	return checkWords(k.text("managesieve_client_workarounds"), "", "managesieve_client_workarounds: Unknown workaround: %s")
}

func checkDsync(k *checker) error {
	switch {
	case k.text("dsync_hashed_headers") == "":
		return errors.New("dsync_hashed_headers must not be empty")
	case k.text("dsync_alt_char") == "":
		return errors.New("dsync_alt_char must not be empty")
	}
	return checkWords(k.text("dsync_features"), "empty-header-workaround", "dsync_features: Unknown feature: %s")
}

func checkIMAP(k *checker) error {
	return checkWords(k.text("imap_client_workarounds"), "delay-newmail tb-extra-mailbox-sep tb-lsub-flags",
		"imap_client_workarounds: Unknown workaround: %s")
}

func checkPOP3(k *checker) error {
	if err := checkWords(k.text("pop3_client_workarounds"), "outlook-no-nuls oe-ns-eoh",
		"pop3_client_workarounds: Unknown workaround: %s"); err != nil {
		return err
	}
	if k.text("pop3_delete_type") == "flag" && k.text("pop3_deleted_flag") == "" {
		return errors.New("pop3_delete_type=flag, but pop3_deleted_flag not set")
	}
	return nil
}

func checkImapc(k *checker) error {
	if k.num("imapc_max_idle_time") == 0 {
		return errors.New("imapc_max_idle_time must not be 0")
	}
	var rest []string
	for _, w := range strings.FieldsFunc(k.text("imapc_features"), func(r rune) bool { return r == ' ' || r == ',' }) {
		const throttle = "throttle:"
		if len(w) < len(throttle) || !strings.EqualFold(w[:len(throttle)], throttle) {
			rest = append(rest, w)
			continue
		}
		parts := strings.Split(w[len(throttle):], ":")
		for _, n := range parts {
			if _, err := parseNumber(n); err != nil || len(parts) != 3 {
				return errors.New("imapc_features: Invalid throttle settings")
			}
		}
	}
	return checkWords(strings.Join(rest, " "), "rfc822.size guid-forced fetch-headers gmail-migration search "+
		"zimbra-workarounds no-examine proxyauth fetch-msn-workarounds fetch-fix-broken-mails modseq delay-login "+
		"fetch-bodystructure send-id fetch-empty-is-expunged no-msn-updates acl", "imapc_features: Unknown feature: %s")
}

func checkPop3c(k *checker) error {
	return checkWords(k.text("pop3c_features"), "no-pipelining", "pop3c_features: Unknown feature: %s")
}

func checkMailStorage(k *checker) error {
	switch {
	case k.num("mailbox_idle_check_interval") == 0:
		return errors.New("mailbox_idle_check_interval must not be 0")
	case k.num("mail_nfs_index") != 0 && k.num("mmap_disable") == 0:
		return errors.New("mail_nfs_index=yes requires mmap_disable=yes")
	case k.num("mail_nfs_index") != 0 && k.text("mail_fsync") != "always":
		return errors.New("mail_nfs_index=yes requires mail_fsync=always")
	case k.num("mail_cache_max_size") > 1<<30:
		return errors.New("mail_cache_max_size can't be over 1 GB")
	case k.num("mail_cache_purge_delete_percentage") > 100:
		return errors.New("mail_cache_purge_delete_percentage can't be over 100")
	}
	if err := checkUIDLFormat(k.text("pop3_uidl_format")); err != nil {
		return err
	}
	if err := checkAttachmentHash(k.text("mail_attachment_hash")); err != nil {
		return err
	}
	for _, w := range strings.FieldsFunc(k.text("mail_attachment_detection_options"), func(r rune) bool { return r == ' ' }) {
		switch {
		case w == "add-flags", w == "add-flags-on-save", w == "no-flags-on-fetch", w == "exclude-inlined":
		case strings.HasPrefix(w, "content-type="):
		default:
			return fmt.Errorf("mail_attachment_detection_options: Unknown option: %s", w)
		}
	}
	for _, key := range []string{"mail_cache_fields", "mail_always_cache_fields", "mail_never_cache_fields"} {
		for _, w := range strings.FieldsFunc(k.text(key), func(r rune) bool { return r == ' ' || r == ',' }) {
			if len(w) >= 4 && strings.EqualFold(w[:4], "hdr.") && !validHeader(w[4:]) {
				return fmt.Errorf("Invalid %s: %s is not a valid header name", key, w)
			}
		}
	}
	return nil
}

// validHeader tells whether name may be the name of a header field (RFC 5322 section 2.2).
func validHeader(name string) bool {
	for i := 0; i < len(name); i++ {
		if c := name[i]; c <= ' ' || c >= 0x7f || c == ':' {
			return false
		}
	}
	return name != ""
}

func checkUIDLFormat(format string) error {
	ok := false
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			continue
		}
		i++
		rest := strings.TrimLeft(format[i:], "0123456789-")
		if strings.HasPrefix(rest, ".") {
			rest = strings.TrimLeft(rest[1:], "0123456789-")
		}
		rest = strings.TrimLeft(rest, "LUEXRHNMDT")
		c := byte(0)
		if rest != "" {
			c = rest[0]
		}
		switch c {
		case 'v', 'u', 'm', 'f', 'g':
			ok = true
		case '%':
		default:
			return fmt.Errorf("Unknown pop3_uidl_format variable: %%%c", c)
		}
	}
	if !ok {
		return errors.New("pop3_uidl_format setting doesn't contain any %% variables.")
	}
	return nil
}

func checkAttachmentHash(format string) error {
	if strings.Contains(format, "/") {
		return errors.New("mail_attachment_hash setting must not contain '/' characters")
	}
	if err := checkHashFormat(format); err != nil {
		return fmt.Errorf("Invalid mail_attachment_hash setting: %w", err)
	}
	if strings.Contains(format, "-") {
		return errors.New("mail_attachment_hash setting must not contain '-' characters")
	}
	return nil
}

func checkHashFormat(format string) error {
	for {
		_, rest, found := strings.Cut(format, "%")
		if !found {
			return nil
		}
		rest = strings.TrimPrefix(strings.TrimPrefix(rest, "B"), "X")
		if !strings.HasPrefix(rest, "{") {
			return errors.New("No '{' after '%'")
		}
		in, after, closed := strings.Cut(rest[1:], "}")
		if !closed {
			return errors.New("Missing '}'")
		}
		name, bits, limited := strings.Cut(in, ":")
		size := hashBits(name)
		if size == 0 {
			return fmt.Errorf("Unknown hash method: %s", name)
		}
		if limited {
			n, err := parseNumber(bits)
			switch {
			case err != nil || n == 0 || n > uint64(size):
				return fmt.Errorf("Invalid :bits number: %s", bits)
			case n%8 != 0:
				return fmt.Errorf("Currently :bits must be divisible by 8: %s", bits)
			}
		}
		format = after
	}
}

func checkMailPlugins(k *checker) error {
	dir := k.text("mail_plugin_dir")
	if k.text("mail_plugins") == "" {
		return nil
	}
	const readAndSearch = 4 | 1
	if err := syscall.Access(dir, readAndSearch); err != nil {
		return fmt.Errorf("mail_plugin_dir: access(%s) failed: %s", dir, errnoText(err))
	}
	return nil
}

func checkNamespaces(k *checker) error {
	all := k.root.lists["namespace"]
	for _, n := range all {
		prefix := n.get("prefix").text
		switch {
		case len(n.get("separator").text) > 1:
			return fmt.Errorf("Namespace '%s': Hierarchy separator must be only one character long", prefix)
		case !utf8.ValidString(prefix):
			return fmt.Errorf("Namespace prefix not valid UTF8: %s", prefix)
		}
		if alias, ok := n.vals["alias_for"]; ok && n.get("disabled").num == 0 {
			if err := checkAlias(all, prefix, alias.text); err != nil {
				return err
			}
		}
		for _, m := range n.lists["mailbox"] {
			if err := checkMailbox(m); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkAlias(all []*node, prefix, alias string) error {
	for _, n := range all {
		if n.get("prefix").text != alias {
			continue
		}
		if next, ok := n.vals["alias_for"]; ok {
			return fmt.Errorf("Namespace '%s': alias_for chaining isn't allowed: %s -> %s", prefix, alias, next.text)
		}
		return nil
	}
	return fmt.Errorf("Namespace '%s': alias_for points to unknown namespace: %s", prefix, alias)
}

func checkMailbox(n *node) error {
	if !utf8.ValidString(n.title()) {
		return fmt.Errorf("mailbox %s: name isn't valid UTF-8", n.title())
	}
	return checkWords(strings.ReplaceAll(n.get("special_use").text, ",", "\x00"),
		`\All \Archive \Drafts \Flagged \Important \Junk \Sent \Trash`,
		"mailbox "+strings.ReplaceAll(n.title(), "%", "%%")+": unknown special_use: %s")
}
