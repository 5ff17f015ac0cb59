-- One user for each form of an answer of auth_password_verify.
local A = dovecot.auth

local answers = {
  string = {1, "a=b proxy=y host=192.0.2.1"},
  table = {1, {a = "b"}},
  password = {1, {password = "zzz", a = "b"}},
  empty = {1, ""},
  bad = {0, "no"},
  badtable = {0, {reason = "r"}},
  internal = {-1, "the database is down"},
  next = {A.PASSDB_RESULT_NEXT, "a=b"},
  nexttable = {A.PASSDB_RESULT_NEXT, {a = "b"}},
  nothing = {},
  renamed = {1, "user=other@example.org"},
}

function auth_password_verify(req, pass)
  local u = req.username
  if u == "error" then error("boom") end
  if u == "given" then return 1, {given = pass, seen = req.password} end
  if pass == "wrong" then return A.PASSDB_RESULT_PASSWORD_MISMATCH, "" end
  local a = answers[u]
  if a == nil then return A.PASSDB_RESULT_USER_UNKNOWN, "" end
  return a[1], a[2]
end
