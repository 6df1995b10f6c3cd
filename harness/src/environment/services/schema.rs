//! A schema of somebody's own in a database that others use too.

use sqlx::{Connection, Executor, postgres::PgConnectOptions};

use crate::environment::{addresses::with_parameter, error::EnvironmentError};

/// Longest time for one statement; the database may be far away.
const STATEMENT_LIMIT: std::time::Duration = std::time::Duration::from_secs(15);

/// PostgreSQL's code for a right that is missing.
const NO_RIGHT: &str = "42501";

/// A schema. A position in the log identifies a row, and a new log begins at zero again, so whoever begins one must not
/// find the tables of another there.
#[derive(Debug)]
pub struct Schema {
    postgres_url: String,
    name: String,
}

impl Schema {
    /// Makes `squall_NAME`; what no identifier may hold becomes an underscore.
    ///
    /// # Errors
    ///
    /// [`EnvironmentError::Address`] with what PostgreSQL said.
    pub async fn create(postgres_url: &str, name: &str) -> Result<Self, EnvironmentError> {
        let name = format!("squall_{}", name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "_"));
        let schema = Self { postgres_url: postgres_url.to_owned(), name };
        schema.execute(format!("create schema {}", schema.name)).await?;
        if let Err(error) = schema.is_reached().await {
            schema.drop().await?;
            return Err(error);
        }
        Ok(schema)
    }

    /// A pooler refuses what names the schema, or swallows it: then the tables would be made among somebody else's.
    async fn is_reached(&self) -> Result<(), EnvironmentError> {
        let question = async {
            let mut session = sqlx::PgConnection::connect(&self.url()).await?;
            let question =
                sqlx::query_scalar::<_, Option<String>>("select current_schema()").persistent(false);
            let reached = question.fetch_one(&mut session).await?;
            session.close().await.map(|()| reached)
        };
        let pooled = |reason| EnvironmentError::Pooler { reason };
        match answered(question).await? {
            Ok(reached) if reached.as_deref() == Some(&self.name) => Ok(()),
            Ok(_) => Err(pooled("a session is not in the schema it asked for".to_owned())),
            // PgBouncer's words.
            Err(error) if error.to_string().contains("unsupported startup parameter") => {
                Err(pooled(error.to_string()))
            }
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// The database as seen from this schema.
    pub fn url(&self) -> String {
        with_parameter(&self.postgres_url, "options[search_path]", &self.name)
    }

    /// Removes it, and all that is in it.
    ///
    /// # Errors
    ///
    /// [`EnvironmentError::Address`] with what PostgreSQL said.
    pub async fn drop(&self) -> Result<(), EnvironmentError> {
        self.execute(format!("drop schema if exists {} cascade", self.name)).await
    }

    async fn execute(&self, statement: String) -> Result<(), EnvironmentError> {
        let executed = async {
            let mut session = sqlx::PgConnection::connect(&self.postgres_url).await?;
            // The name consists of letters, digits and underscores.
            session.execute(sqlx::AssertSqlSafe(statement)).await?;
            session.close().await
        };
        answered(executed).await?.map_err(|error| {
            match error.as_database_error().and_then(|said| said.code()) {
                Some(code) if code == NO_RIGHT => {
                    let reason = error.to_string();
                    let at = self.postgres_url.parse::<PgConnectOptions>().unwrap_or_default();
                    let (user, database) = (at.get_username(), at.get_database().unwrap_or_default());
                    EnvironmentError::NoSchema {
                        user: user.to_owned(),
                        database: database.to_owned(),
                        reason,
                    }
                }
                _ => failed(error.to_string()),
            }
        })
    }
}

fn failed(reason: String) -> EnvironmentError {
    EnvironmentError::Address { what: "postgres", reason }
}

/// What PostgreSQL says, if it says anything.
async fn answered<T>(
    question: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<Result<T, sqlx::Error>, EnvironmentError> {
    let answer = tokio::time::timeout(STATEMENT_LIMIT, question).await;
    answer.map_err(|_| failed("it does not answer".to_owned()))
}
