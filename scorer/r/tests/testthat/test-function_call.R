at <- function(seconds) as.POSIXct(seconds, origin = "1970-01-01", tz = "UTC")
fields <- list(
  list(name = "x", type = "double"), list(name = "xs", type = "double", vector = TRUE),
  list(name = "s", type = "string"), list(name = "ss", type = "string", vector = TRUE),
  list(name = "is", type = "integer", vector = TRUE), list(name = "l", type = "logical"),
  list(name = "fs", type = "factor", vector = TRUE, levels = c("a", "\u00e9"), ordered = TRUE),
  list(name = "d", type = "date"), list(name = "ts", type = "datetime", vector = TRUE)
)
plain <- list(x = 0.1, xs = c(NaN, NA, -0, Inf), s = "\u20ac", ss = c("", NA, "b"), is = integer(), l = NA,
  fs = c(2L, NA), d = -1, ts = 0.25)

test_that("a call of every type comes back bit for bit, each vector at its own length", {
  codec <- call_codec(fields)
  values <- decode_call(codec, encode_call(codec, plain))
  expect_true(identical(values$xs, plain$xs, num.eq = FALSE))
  expect_identical(values[c("x", "s", "ss", "is", "l")], plain[c("x", "s", "ss", "is", "l")])
  expect_identical(values$fs, factor(c("\u00e9", NA), c("a", "\u00e9"), ordered = TRUE))
  expect_identical(values$d, as.Date("1969-12-31"))
  expect_identical(values$ts, at(0.25))
})

test_that("bytes that are not exactly one call are refused", {
  codec <- call_codec(fields)
  body <- encode_call(codec, plain)
  expect_error(decode_call(codec, c(body, as.raw(0))), "bytes where its inputs need")
  expect_error(decode_call(codec, utils::head(body, -1L)), "ends in the middle")
  expect_error(decode_call(call_codec(fields[2L]), writeBin(-1L, raw())), "negative size")
})

model_of <- function(fun, inputs = fields[2L], outputs = list(list(name = "y", type = "double"))) {
  structure(list(signature = list(inputs = inputs, outputs = outputs), fun = fun), class = "scoregate_model")
}
ask <- function(fun, xs) {
  frame_predictor(model_of(fun))(encode_call(call_codec(fields[2L]), list(xs = xs)), 1)
}

test_that("a worker answers a call with a call, seeded, and tells an error with its kind and message", {
  answer <- ask(function(xs) sum(xs), c(1, 2, 4))
  expect_identical(answer$status, 200L)
  expect_identical(answer$headers$`X-Rows`, "1")
  expect_identical(readBin(answer$body, "double"), 7)
  expect_identical(ask(function(xs) runif(1), 1), ask(function(xs) runif(1), 1))
  failed <- ask(function(xs) stop("no such thing"), 1)
  expect_identical(failed$headers$`X-Error-Code`, "prediction_failed")
  expect_identical(rawToChar(failed$body), "no such thing")
  expect_identical(ask(function(xs) xs, c(1, 2))$headers$`X-Error-Code`, "wrong_length")
  expect_identical(ask(function(xs) "text", 1)$headers$`X-Error-Code`, "bad_output")
  expect_match(rawToChar(frame_predictor(model_of(sum))(raw(), 2)$body), "one call at a time")
})
