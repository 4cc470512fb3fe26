# Scoring over HTTP from R: rows out as JSON columns with every digit, answers back as what predict() would have given.

#' Score rows, or call a function, through the gateway
#'
#' @param url The gateway, as in `https://scores.example.org`.
#' @param data A data.frame with the model's inputs as columns; others are not sent. Missing values go as null. For a
#'   function (see [package_function()]) a named list of its inputs.
#' @param token An access token as text (without "Bearer"), or a function that gives one.
#' @param model The model's name.
#' @param version NULL for the version that serves by default, or one version.
#' @param timeout_s Seconds to wait for an answer.
#' @return What `predict()` would return: a vector (factor, Date ...) or a data.frame, one value or row per row of
#'   `data`; of a function a named list of its outputs. NaN and infinite answers come as NA, because JSON has no word
#'   for them. A refusal is an error of class `scoregate_refused` whose message is the gateway's reason; the condition
#'   has `status`, `code`, `request_id`, `retry_after_ms` and `problems`.
#' @examples
#' \dontrun{
#' score("http://127.0.0.1:8080", cars[1:3, ], Sys.getenv("TOKEN"), "cars-interval")
#' score("http://127.0.0.1:8080", list(principal = 1000, rate = 0.05, years = 2L, start = Sys.Date()),
#'   Sys.getenv("TOKEN"), "loan-schedule")$payment
#' }
#' @export
score <- function(url, data, token, model, version = NULL, timeout_s = 60) {
  if (is.data.frame(data) && nrow(data) == 0L || !is.list(data)) {
    abort("data must be a data.frame with at least one row, or the inputs of a function as a named list; it is ",
      describe_value(data))
  }
  check_model_name(model)
  if (!is.null(version)) check_version(version)
  of_model <- paste0(sub("/+$", "", url), "/v1/models/", model)
  of_version <- function(version) paste0(of_model, "/versions/", version)
  described <- ask_gateway(if (is.null(version)) of_model else of_version(version), token, timeout_s)
  signature <- described$signature
  if (is.null(signature)) {
    abort(url, " described the model ", model, " without a signature: is it a scoregate gateway of this release?")
  }
  asked <- of_version(if (is.null(version)) described$version else version)
  if (identical(signature$kind, "function")) {
    body <- inputs_json(data, signature$inputs, model)
    return(restore_outputs(ask_gateway(paste0(asked, "/score"), token, timeout_s, body)$outputs, signature$outputs))
  }
  if (!is.data.frame(data)) {
    abort(model, " is a model and takes rows: data must be a data.frame; it is ", describe_value(data))
  }
  inputs <- vapply(signature$inputs, `[[`, "", "name")
  absent <- setdiff(inputs, names(data))
  if (length(absent) > 0L) {
    abort("data has no column ", quoted(absent), ", which ", model, " takes; it has ", quoted(names(data)))
  }
  body <- request_json(data[intersect(names(data), inputs)])
  answer <- ask_gateway(paste0(asked, "/score"), token, timeout_s, body)
  if (length(answer$predictions) != nrow(data)) {
    abort("the gateway answered ", length(answer$predictions), " rows for ", nrow(data), ": tell its operators")
  }
  restore_answer(answer$predictions, signature$outputs, signature$kind)
}

#' A call as JSON: an input is an array where the signature says so, however many values it has.
#' @noRd
inputs_json <- function(inputs, fields, model) {
  if (is.data.frame(inputs) || is.null(names(inputs)) && length(inputs) > 0L) {
    abort(model, " is a function and takes a named list of inputs, not rows: list(",
      paste0(vapply(fields, `[[`, "", "name"), " = ...", collapse = ", "), ")")
  }
  single <- vapply(Filter(function(field) !isTRUE(field$vector), fields), `[[`, "", "name")
  values <- Map(function(value, name) {
    plain <- json_values(value, name)
    if (name %in% single && length(plain) == 1L) plain else json_array(plain)
  }, inputs, names(inputs))
  json_text(list(inputs = named(values)))
}

restore_outputs <- function(outputs, fields) {
  values <- lapply(fields, function(field) {
    value <- outputs[[field$name]]
    restore_column(if (isTRUE(field$vector)) value else list(value), field)
  })
  stats::setNames(values, vapply(fields, `[[`, "", "name"))
}

request_json <- function(data) {
  columns <- Map(function(values, name) json_array(json_values(values, name)), as.list(data), names(data))
  json_text(list(columns = columns))
}

#' A column as plain values that JSON can carry: labels, ISO 8601 dates and times; NaN is missing.
#' @noRd
json_values <- function(values, name) {
  type <- column_type(values)
  if (is.null(type)) {
    abort("column ", name, " is ", describe_value(values), ", which cannot be sent: convert it to numeric, integer, ",
      "logical, character, factor, Date or POSIXct")
  }
  if (type == "double" && any(is.infinite(values))) {
    abort("column ", name, " has infinite values, for which JSON has no word: leave those rows out")
  }
  switch(type,
    factor = as.character(values),
    date = ifelse(is.na(values), NA_character_, format(values, "%Y-%m-%d")),
    datetime = utc_text(as.double(unclass(as.POSIXct(values)))),
    as.vector(unclass(values))
  )
}

#' RFC 3339 in UTC with all digits of the fraction that the number has.
#' @noRd
utc_text <- function(seconds) {
  whole <- floor(seconds)
  fraction <- sub("0+$", "", sub("^0[.]", "", sprintf("%.60f", seconds - whole)))
  day <- format(structure(whole, class = c("POSIXct", "POSIXt"), tzone = "UTC"), "%Y-%m-%dT%H:%M:%S")
  ifelse(is.na(seconds), NA_character_, paste0(day, ifelse(nzchar(fraction), paste0(".", fraction), ""), "Z"))
}

ask_gateway <- function(url, token, timeout_s, body = NULL) {
  if (is.function(token)) token <- token()
  handle <- curl::new_handle(timeout_ms = ceiling(timeout_s * 1000))
  curl::handle_setheaders(handle, Authorization = paste("Bearer", token), "Content-Type" = "application/json",
    Accept = "application/json, application/problem+json", Expect = "")
  if (!is.null(body)) {
    bytes <- charToRaw(enc2utf8(body))
    curl::handle_setopt(handle, post = TRUE, postfieldsize = length(bytes), postfields = bytes)
  }
  response <- tryCatch(curl::curl_fetch_memory(url, handle), error = function(e) {
    abort("no answer from ", url, ": ", condition_text(e), ". Is the URL right and the gateway up?",
      class = "scoregate_unreachable")
  })
  text <- rawToChar(response$content)
  Encoding(text) <- "UTF-8"
  parsed <- tryCatch(jsonlite::fromJSON(text, simplifyVector = FALSE), error = function(e) NULL)
  if (response$status_code >= 300L) refuse(response$status_code, parsed, url)
  if (is.null(parsed)) {
    abort(url, " did not answer with JSON: is it a scoregate gateway?", class = "scoregate_unreachable")
  }
  parsed
}

#' The gateway's problem+json as an error that reads well.
#' @noRd
refuse <- function(status, problem, url) {
  if (!is.list(problem)) problem <- list(detail = paste("no reason was given by", url))
  detail <- c(problem$detail, problem$error, problem$title, "no reason was given")[1L]
  listed <- vapply(utils::head(problem$problems, 5L), function(one) {
    paste0("\n  ", one$pointer, if (is.null(one$pointer)) "" else ": ", c(one$detail, one$message, one$code, "")[1L])
  }, "")
  more <- max(0, (if (is.null(problem$problems_total)) length(problem$problems) else problem$problems_total) -
    length(listed))
  code <- if (!is.null(problem$code)) paste0(" ", problem$code)
  message <- paste0("the gateway refused (", status, code, "): ", detail,
    paste(listed, collapse = ""), if (more > 0) paste0("\n  and ", more, " more"),
    if (!is.null(problem$retry_after_ms)) paste0("; try again in ", problem$retry_after_ms / 1000, " s"),
    if (!is.null(problem$request_id)) paste0(" [request ", problem$request_id, "]"))
  stop(structure(
    list(message = message, call = NULL, status = status, code = problem$code, request_id = problem$request_id,
      retry_after_ms = problem$retry_after_ms, problems = problem$problems),
    class = c("scoregate_refused", "scoregate_error", "error", "condition")
  ))
}

#' Predictions of a reply as a vector or a data.frame of the signature's types.
#' @noRd
restore_answer <- function(predictions, outputs, kind) {
  if (identical(kind, "vector")) {
    return(restore_column(predictions, outputs[[1L]]))
  }
  columns <- lapply(outputs, function(field) restore_column(lapply(predictions, `[[`, field$name), field))
  names(columns) <- vapply(outputs, `[[`, "", "name")
  structure(columns, class = "data.frame", row.names = .set_row_names(length(predictions)))
}

restore_column <- function(values, field) {
  missing <- missing_values(if (field$type %in% c("factor", "date", "datetime")) "string" else field$type, 1L)
  values <- vapply(values, function(value) if (is.null(value)) missing else as.vector(value, typeof(missing)), missing)
  switch(field$type,
    factor = {
      levels <- as.character(unlist(field$levels))
      coded_factor(match(values, levels), levels, isTRUE(field$ordered))
    },
    date = as.Date(values),
    datetime = parse_utc(values),
    values
  )
}

#' Seconds from RFC 3339 text in UTC (other offsets are not read), the fraction apart so that no digit is lost.
#' @noRd
parse_utc <- function(text) {
  form <- "^([0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2})([.][0-9]+)?Z$"
  at <- as.POSIXct(sub("[t ]", "T", sub(form, "\\1", text)), format = "%Y-%m-%dT%H:%M:%S", tz = "UTC")
  digits <- ifelse(is.na(text) | !grepl("[.]", text), "", sub(form, "\\2", text))
  whole <- as.double(unclass(at))
  seconds <- whole
  split <- which(nzchar(digits) & !is.na(whole))
  exact <- ifelse(whole[split] >= 0, sprintf("%.0f%s", whole[split], digits[split]), NA)
  near <- whole[split] + parse_doubles(paste0("0", digits[split]))
  seconds[split] <- ifelse(is.na(exact), near, parse_doubles(exact))
  structure(seconds, class = c("POSIXct", "POSIXt"), tzone = "UTC")
}
