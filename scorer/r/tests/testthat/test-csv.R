csv <- function(...) {
  path <- tempfile(fileext = ".csv")
  writeLines(c(...), path, useBytes = TRUE)
  path
}

test_that("decimal texts are read to the nearest double, of every form", {
  set.seed(4)
  texts <- sprintf("%.15g", runif(20000) * 10^sample(-5:8, 20000, TRUE))
  exact <- jsonlite::fromJSON(paste0("[", paste(texts, collapse = ","), "]"))
  expect_identical(parse_doubles(texts), exact)
  expect_gt(sum(as.numeric(texts) != exact), 0)
  expect_identical(parse_doubles(c("1", "-2", "+3", ".5", "-.5", "1.", "1e3", "1.E-2", "Inf", "-Inf", "NaN", "x", NA)),
    c(1, -2, 3, 0.5, -0.5, 1, 1000, 0.01, Inf, -Inf, NaN, NA, NA))
  expect_identical(1 / parse_doubles(c("-0", "-0.0", "0")), c(-Inf, -Inf, Inf))
})

test_that("integers and logicals are read whole or not at all", {
  expect_identical(parse_integers(c("1", "2.0", "1e3", "1.5", "2147483648", "-2147483648", NA)),
    c(1L, 2L, 1000L, NA, NA, NA, NA))
  expect_identical(parse_logicals(c("TRUE", "false", "T", "yes", NA)), c(TRUE, FALSE, TRUE, NA, NA))
})

test_that("rows of a signature are read by type, empty cells and NA missing, other columns ignored", {
  fields <- list(list(name = "f", type = "factor", levels = c("b", "a")), list(name = "z", type = "datetime"),
    list(name = "x", type = "double"), list(name = "s", type = "string"), list(name = "t", type = "date"))
  path <- csv("x,s,f,t,z,other", "0.1,\"a,\u00e9\",a,2024-02-29,2024-02-29T00:00:00.5Z,1", "NA,,,,,")
  rows <- rows_from_text(read_csv_text(path), fields)
  expect_identical(names(rows), c("f", "z", "x", "s", "t"))
  expect_identical(rows$f, factor(c("a", NA), levels = c("b", "a")))
  expect_identical(rows$x, c(0.1, NA))
  expect_identical(rows$s, c("a,\u00e9", NA))
  expect_identical(rows$t, as.Date(c("2024-02-29", NA)))
  expect_identical(as.double(rows$z), c(1709164800.5, NA))
})

test_that("spaces around numbers do not matter, spaces in labels do", {
  cells <- read_csv_text(csv("x,f", " 1.5 , a", "  ,a"))
  expect_identical(parse_cells(cells$x, list(name = "x", type = "double")), c(1.5, NA))
  expect_identical(cells$f, c(" a", "a"))
})

test_that("a cell that does not fit is named with its row and column", {
  field <- list(name = "x", type = "double")
  expect_error(rows_from_text(read_csv_text(csv("x", "1", "two")), list(field)), "row 2 of column x is \"two\"")
  expect_error(rows_from_text(read_csv_text(csv("y", "1")), list(field)), "has no column \"x\"")
  expect_error(read_csv_text(csv("x")), "has no rows")
  expect_error(read_csv_text("no/such.csv"), "there is no file")
})

test_that("a sample's types come from the model, then from the cells", {
  data <- data.frame(y = c(1, 2, 3, 5, 4, 7), n = c(1, 2, 3, 4, 5, 5),
    f = factor(c("10", "20", "10", "20", "10", "20"), levels = c("20", "10")),
    l = c(TRUE, FALSE, TRUE, TRUE, FALSE, TRUE))
  fit <- lm(y ~ n + f + l, data)
  path <- csv("y,n,f,l,when,note", "1,1,10,TRUE,2024-01-01,x", "2,2,20,FALSE,2024-01-02,NA")
  sample <- read_sample(path, fit)
  expect_identical(vapply(sample, function(column) class(column)[1], ""),
    c(y = "numeric", n = "numeric", f = "factor", l = "logical", when = "Date", note = "character"))
  expect_identical(levels(sample$f), c("20", "10"))
  expect_type(read_sample(path, fit, c(n = "integer"))$n, "integer")
  expect_error(read_sample(path, fit, c(q = "integer")), "which the CSV file does not have")
})
