skip_on_os(c("mac", "windows", "solaris"))

port_file <- tempfile("port-", tmpdir = normalizePath(tempdir()))
system2(file.path(R.home("bin"), "Rscript"),
  c("--vanilla", shQuote(test_path("fake-gateway.R")), shQuote(port_file), Sys.getpid()),
  wait = FALSE, stdout = FALSE, stderr = FALSE
)
deadline <- Sys.time() + 20
while (!file.exists(port_file)) {
  if (Sys.time() > deadline) stop("the fake gateway did not start")
  Sys.sleep(0.02)
}
url <- paste0("http://127.0.0.1:", readLines(port_file), "/")
withr::defer(unlink(port_file), teardown_env())

test_that("a vector of predictions comes back as predict() would give it", {
  expect_identical(score(url, data.frame(x = c(1, 2, 3)), "token", "bare"), c(24, NA, 0.30000000000000004))
})

test_that("a table of predictions comes back with its types, \"NA\" as a label is not missing", {
  rows <- data.frame(x = c(1, 2), f = c("a", "b"), t = as.Date("2024-02-29"), z = Sys.time())
  got <- score(url, rows, function() "token", "table", version = "3")
  expect_identical(got, data.frame(
    class = factor(c("NA", NA), levels = c("NA", "b")), p = c(0.1, NA), t = as.Date(c("2024-02-29", NA)),
    z = structure(c(1709164800.123456, NA), class = c("POSIXct", "POSIXt"), tzone = "UTC")
  ))
})

test_that("rows go out as columns with every digit, labels, dates and nulls, and only the model's", {
  rows <- data.frame(x = c(0.1 + 0.2, NaN), f = factor(c("b", NA)), t = as.Date(c("2024-02-29", NA)),
    z = structure(c(1.25, NA), class = c("POSIXct", "POSIXt"), tzone = "Asia/Tokyo"), medv = 1)
  score(url, rows, "token", "table")
  sent <- rawToChar(curl::curl_fetch_memory(paste0(url, "last"),
    curl::new_handle(httpheader = "Authorization: Bearer token"))$content)
  expect_identical(sent, paste0(
    "{\"columns\": {\"x\": [0.30000000000000004, null], \"f\": [\"b\", null], \"t\": [\"2024-02-29\", null], ",
    "\"z\": [\"1970-01-01T00:00:01.25Z\", null]}}"
  ))
})

test_that("the gateway's reasons become an R error that reads well and carries them", {
  refused <- expect_error(score(url, data.frame(x = 1), "token", "bad"), "2 problems with the rows",
    class = "scoregate_refused")
  expect_match(conditionMessage(refused), "/rows/0/x: is null\n  and 1 more")
  expect_identical(list(refused$status, refused$code, refused$request_id), list(422L, "invalid_rows", "r-1"))
  expect_error(score(url, data.frame(x = 1), "", "bare"), "401 TokenNotPresent")
  expect_error(score(url, data.frame(x = 1), "token", "absent"), "no such model")
})

test_that("no answer, no rows and values that JSON has no word for are told before or instead of waiting", {
  expect_error(score("http://127.0.0.1:1", data.frame(x = 1), "token", "bare"), "Is the URL right",
    class = "scoregate_unreachable")
  expect_error(score(url, data.frame(), "token", "bare"), "at least one row")
  expect_error(score(url, data.frame(x = Inf), "token", "bare"), "infinite values")
})

test_that("times keep their fraction both ways", {
  seconds <- c(0, 1709164800.123456, -0.5, -86400.25, 1e9 + 1 / 3, NA)
  expect_identical(as.double(parse_utc(utc_text(seconds))), seconds)
})

test_that("a function is called with its inputs, and answers its outputs", {
  got <- score(url, list(x = 1, xs = 2), "token", "fun")
  expect_identical(got, list(y = c(0.1, NA), day = as.Date("2024-02-29"), none = character()))
  expect_identical(rawToChar(curl::curl_fetch_memory(paste0(url, "last"), curl::handle_setheaders(curl::new_handle(),
    Authorization = "Bearer token"))$content), "{\"inputs\": {\"x\": 1, \"xs\": [2]}}")
  expect_error(score(url, data.frame(x = 1), "token", "fun"), "is a function and takes a named list of inputs")
  expect_error(score(url, list(x = 1), "token", "bare"), "is a model and takes rows")
  expect_error(score(url, 1, "token", "fun"), "the inputs of a function")
})

test_that("a column that is not there is named beside those that are", {
  rows <- data.frame(y = 1, z = 2)
  expect_error(score(url, rows, "token", "bare"), "no column \"x\", which bare takes; it has \"y\", \"z\"")
})
