-- One user for each form of an answer of auth_passdb_lookup.
local A = dovecot.auth

local function expand(req)
  local t = req:response_from_template("host=%d e= flag destuser=%n@%{orig_user}")
  t.password = "x"
  t.expanded = req:var_expand("%u|%n|%d|%s|%m|%a|%b|%l|%r|%{session}|%Lu|%{domain_first}|%!")
  t.unknown = req:var_expand("<%{nosuch}>")
  return t
end

local function attributes(req)
  local out = {password = "x"}
  for _, n in ipairs{"user", "username", "domain", "service", "home", "lip", "rip", "mech", "secured", "lport", "rport", "cert",
      "login_user", "session", "real_lip", "real_rport", "domain_first", "domain_last", "master_user", "session_pid", "orig_user",
      "orig_username", "orig_domain", "auth_user", "auth_domain", "local_name", "client_id", "local_ip", "remote_port", "mechanism",
      "original_user", "skip_password_check", "passdbs_seen_user_unknown", "passdbs_seen_internal_failure",
      "userdbs_seen_internal_failure", "protocol", "nosuch"} do
    out["a_" .. n] = type(req[n]) .. ":" .. tostring(req[n])
  end
  out.a_password = req.password
  out.types = type(req) .. type(req.passdb) .. type(req.var_expand) .. type(req.passdb.nosuch) .. type(req.userdb.nosuch)
  return out
end

local function verify(req)
  local out = {password = "x"}
  for i, p in ipairs{{"{PLAIN}x", "x"}, {"{PLAIN}x", "y"}, {"x", "x"}, {"{NOPE}x", "x"}, {"{SHA256}zz", "x"},
      {"{SHA256.HEX}2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881", "x"}} do
    local n, text = req:password_verify(p[1], p[2])
    out["v" .. i] = string.format("%d:%s", n, tostring(text))
  end
  return out
end

local function constants()
  local names = {}
  for k in pairs(A) do names[#names + 1] = k end
  table.sort(names)
  local out = {}
  for _, k in ipairs(names) do out[#out + 1] = string.format("%s=%d", k, A[k]) end
  return {password = "x", all = table.concat(out, ",")}
end

local answers = {
  string = {A.PASSDB_RESULT_OK, "password=x a=b c d= proxy=y  host=192.0.2.1"},
  table = {A.PASSDB_RESULT_OK, {password = "x", proxy = "y", host = "192.0.2.1", reason = "a b c"}},
  types = {A.PASSDB_RESULT_OK, {password = "x", num = 5, float = 2.0, yes = true, no = false, empty = ""}},
  hash = {A.PASSDB_RESULT_OK, {password = "{SHA256.HEX}2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"}},
  wrong = {A.PASSDB_RESULT_OK, {password = "y", a = "b"}},
  nopw = {A.PASSDB_RESULT_OK, {a = "b"}},
  emptypw = {A.PASSDB_RESULT_OK, {password = "", a = "b"}},
  emptyscheme = {A.PASSDB_RESULT_OK, {password = "{PLAIN}", a = "b"}},
  nopassword = {A.PASSDB_RESULT_OK, {nopassword = "y", a = "b"}},
  both = {A.PASSDB_RESULT_OK, {nopassword = "y", password = "x"}},
  bothstring = {A.PASSDB_RESULT_OK, "nopassword=y password=x"},
  unknown = {A.PASSDB_RESULT_USER_UNKNOWN, "no such user"},
  unknowntable = {A.PASSDB_RESULT_USER_UNKNOWN, {reason = "foo"}},
  unknownnil = {A.PASSDB_RESULT_USER_UNKNOWN, nil},
  mismatch = {A.PASSDB_RESULT_PASSWORD_MISMATCH, "bad"},
  disabled = {A.PASSDB_RESULT_USER_DISABLED, "disabled"},
  expired = {A.PASSDB_RESULT_PASS_EXPIRED, "expired"},
  next = {A.PASSDB_RESULT_NEXT, "a=b"},
  nexttable = {A.PASSDB_RESULT_NEXT, {a = "b"}},
  scheme = {A.PASSDB_RESULT_SCHEME_NOT_AVAILABLE, ""},
  internal = {A.PASSDB_RESULT_INTERNAL_FAILURE, "the database is down"},
  internaltable = {A.PASSDB_RESULT_INTERNAL_FAILURE, {x = "y"}},
  number = {"1", "password=x"},
  text = {"x", "y"},
  boolean = {1, true},
  numberasfields = {1, 5},
  renamed = {1, {password = "x", user = "other@example.org"}},
}

function auth_passdb_lookup(req)
  local u = req.username
  if u == "expand" then return 1, expand(req) end
  if u == "attributes" then return 1, attributes(req) end
  if u == "verify" then return 1, verify(req) end
  if u == "constants" then return 1, constants() end
  if u == "nothing" then return end
  if u == "three" then return 1, "password=x", "more" end
  if u == "error" then error("boom " .. req.user) end
  if u == "errortable" then error({}) end
  if u == "nilindex" then local x; return x.y end
  local a = answers[u]
  if a == nil then return A.PASSDB_RESULT_USER_UNKNOWN, "" end
  return a[1], a[2]
end
