test_that("text is refused by name, with what to do", {
  expect_silent(refuse_text(character(), "svm"))
  expect_error(refuse_text(c("a", "b"), "svm"), "svm was given text in \"a\", \"b\".*fit the model on factors")
  data <- data.frame(a = "x", b = 1, c = "y", r = 1)
  expect_identical(text_inputs(lm(r ~ a, rbind(data, transform(data, a = "z"))), data), "a")
})

test_that("one column is a vector, several stay a matrix", {
  expect_identical(vector_or_matrix(array(1:3, 3)), 1:3)
  expect_identical(vector_or_matrix(matrix(1:3)), 1:3)
  expect_identical(vector_or_matrix(diag(2)), diag(2))
})
