fields <- list(
  list(name = "x", type = "double"), list(name = "y", type = "double"), list(name = "n", type = "integer"),
  list(name = "l", type = "logical"), list(name = "s", type = "string"), list(name = "t", type = "string"),
  list(name = "f", type = "factor", levels = c("b", "\u00e9", "unused")),
  list(name = "o", type = "factor", levels = c("low", "high"), ordered = TRUE),
  list(name = "d", type = "date"), list(name = "z", type = "datetime")
)
columns <- list(
  x = c(1.5, NA, NaN), y = c(-0, Inf, 5e-324), n = c(1L, NA, .Machine$integer.max), l = c(1L, 0L, NA),
  s = c("", NA, "\u00e9\U1F600"), t = c("a", "b", ""), f = c(2L, NA, 1L), o = c(2L, 1L, NA),
  d = c(0, NA, 19000.5), z = c(1.25, NA, -1)
)
codec <- frame_codec(fields)

test_that("a frame comes back as it was, bit for bit", {
  body <- encode_frame(codec, columns, 3L)
  frame <- decode_frame(codec, body, 3L)
  plain <- lapply(frame, function(column) {
    if (is.factor(column) || is.logical(column)) as.integer(column) else as.vector(unclass(column))
  })
  attributes(plain$z) <- NULL
  expect_identical(encode_frame(codec, plain, 3L), body)
  expect_identical(is.nan(frame$x), c(FALSE, FALSE, TRUE))
  expect_identical(1 / frame$y[1L], -Inf)
})

test_that("columns have the classes that models are fitted with", {
  frame <- decode_frame(codec, encode_frame(codec, columns, 3L), 3L)
  expect_identical(
    unname(vapply(frame, function(column) class(column)[1L], "")),
    c("numeric", "numeric", "integer", "logical", "character", "character", "factor", "ordered", "Date", "POSIXct")
  )
  expect_identical(levels(frame$f), c("b", "\u00e9", "unused"))
  expect_identical(frame$s, c("", NA, "\u00e9\U1F600"))
  expect_identical(Encoding(frame$s[3L]), "UTF-8")
  expect_identical(attr(frame$z, "tzone"), "UTC")
  expect_identical(attr(frame, "row.names"), 1:3)
})

test_that("no rows and no columns are frames too", {
  empty <- lapply(columns, function(column) column[0L])
  expect_identical(nrow(decode_frame(codec, encode_frame(codec, empty, 0L), 0L)), 0L)
  expect_identical(dim(decode_frame(frame_codec(list()), raw(), 4L)), c(4L, 0L))
})

test_that("bytes that are not exactly a frame are refused", {
  body <- encode_frame(codec, columns, 3L)
  expect_error(decode_frame(codec, body[-length(body)], 3L), "ends in the middle")
  expect_error(decode_frame(codec, c(body, raw(1L)), 3L), "bytes where its columns need")
  text <- frame_codec(list(list(name = "s", type = "string")))
  expect_error(decode_frame(text, c(writeBin(1L, raw()), as.raw(0xff)), 1L), "not UTF-8")
  expect_error(decode_frame(text, writeBin(-5L, raw()), 1L), "negative length")
  one_factor <- frame_codec(list(list(name = "f", type = "factor", levels = "a")))
  expect_error(decode_frame(one_factor, writeBin(2L, raw()), 1L), "outside its levels")
  expect_error(frame_codec(list(list(name = "c", type = "complex"))), "does not know: complex")
})

test_that("a long frame is read as a short one is", {
  times <- 2000L
  long <- lapply(columns, rep, times)
  body <- encode_frame(codec, long, 3L * times)
  expect_gt(length(body), long_frame_bytes)
  short <- decode_frame(codec, encode_frame(codec, columns, 3L), 3L)
  expected <- take_rows(short, rep(1:3, times))
  open <- nrow_connections()
  expect_identical(decode_frame(codec, body, 3L * times), expected)
  expect_error(decode_frame(codec, body[-length(body)], 3L * times), "ends in the middle")
  expect_error(decode_frame(codec, body, 3L * times + 1L), "ends in the middle|negative length|not UTF-8|outside its")
  expect_error(decode_frame(codec, c(body, raw(1L)), 3L * times), "bytes where its columns need")
  expect_identical(nrow_connections(), open)
})

test_that("answers that are not the signature's are refused with their name", {
  output <- function(type, ...) frame_codec(list(list(name = "p", type = type, ...)))
  bad <- function(codec, values, n = 1L) {
    expect_error(encode_frame(codec, list(p = values), n), "'p'", class = "scoregate_bad_output")
  }
  bad(output("double"), "1")
  bad(output("double"), c(1, 2))
  bad(output("integer"), 1.5)
  bad(output("string"), 1)
  bad(output("factor", levels = "a"), 2L)
  expect_error(encode_frame(output("double"), list(q = 1), 1L), class = "scoregate_bad_output")
})

test_that("neighbours of one width are read together and strings alone", {
  kinds <- vapply(neighbours(c("double", "double", "string", "string", "integer")), function(run) run$kind, "")
  expect_identical(unname(kinds), c("double", "string", "string", "integer"))
})
