super::streams::streams!(sqlx::Postgres);
