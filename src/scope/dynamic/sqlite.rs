super::streams::streams!(sqlx::Sqlite);
